"""The table of users."""

from app.kit.resource import Column, Resource
from app.users.model import ROLES, User

USERS = Resource(
    name="users",
    singular="user",
    owner_path="_id",
    windowed=User.windowed,
    normalized=User.normalized,
    columns=(
        Column("id", "Id", "id", filterable=True),
        Column("email", "E-mail", filterable=True, sortable=True, mutable=True, unique=True, searchable=True),
        Column("name", "Name", filterable=True, sortable=True, mutable=True, searchable=True),
        Column("role", "Role", choices=ROLES, filterable=True),
        Column("disabled", "Disabled", "boolean", filterable=True),
        Column("profile.bio", "Bio", nullable=True),
        Column("profile.birth_date", "Birth date", "date", nullable=True, filterable=True),
        Column("profile.age", "Age", "integer", nullable=True, filterable=True),
        Column("profile.phone", "Phone", nullable=True, filterable=True),
        Column("profile.locale", "Locale", nullable=True, filterable=True),
        Column("profile.time_zone", "Time zone", nullable=True, filterable=True),
        Column("profile.addresses", "Addresses", "json"),
        Column("version", "Version", "integer", exported=False),
        Column("created_at", "Created", "instant", filterable=True, sortable=True),
        Column("updated_at", "Updated", "instant", filterable=True, sortable=True, mutable=True),
    ),
)
