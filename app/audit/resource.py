"""The table of the audit log."""

from app.audit.actor import ACTOR_KINDS
from app.kit.resource import Column, Resource

AUDIT = Resource(
    name="audit",
    singular="audit entry",
    owner_path="actor_id",
    columns=(
        Column("id", "Id", "id"),
        Column("created_at", "When", "instant", filterable=True, sortable=True),
        Column("actor_kind", "Who", choices=ACTOR_KINDS),
        Column("actor_id", "User", "id", nullable=True, filterable=True),
        Column("credential", "By means of", nullable=True),
        Column("credential_id", "Key or session", "id", nullable=True),
        Column("action", "Action", filterable=True),
        Column("resource", "Resource", filterable=True),
        Column("target_id", "Target", "id", nullable=True, filterable=True),
        Column("subject_id", "Whose it is", "id", nullable=True, filterable=True),
        Column("address", "From", nullable=True, filterable=True),
        Column("request_id", "Request", nullable=True, filterable=True),
        Column("details", "Details", "json"),
    ),
)
