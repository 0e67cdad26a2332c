"""The tables of API keys and of sessions."""

from app.kit.resource import Column, Resource

KEYS = Resource(
    name="keys",
    singular="key",
    owner_path="user_id",
    columns=(
        Column("id", "Id", "id", filterable=True),
        Column("user_id", "User", "id", filterable=True),
        Column("name", "Name", filterable=True),
        Column("scopes", "Scopes", "texts"),
        Column("prefix", "Begins with"),
        Column("expires_at", "Expires", "instant", nullable=True),
        Column("last_used_at", "Last used", "instant", nullable=True),
        Column("quota", "Quota", "json", nullable=True),
        Column("created_at", "Created", "instant", filterable=True, sortable=True),
    ),
)

SESSIONS = Resource(
    name="sessions",
    singular="session",
    owner_path="user_id",
    columns=(
        Column("id", "Id", "id", filterable=True),
        Column("user_id", "User", "id", filterable=True),
        Column("scopes", "Scopes", "texts"),
        Column("address", "Address"),
        Column("user_agent", "Program"),
        Column("last_used_at", "Last used", "instant"),
        Column("expires_at", "Expires", "instant"),
        Column("created_at", "Created", "instant", filterable=True, sortable=True),
    ),
)
