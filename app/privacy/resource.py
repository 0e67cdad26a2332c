"""The tables of holds, erasures and retention policies."""

from app.kit.resource import Column, Resource
from app.privacy.model import ERASURE_STATES, FATES, HELD_RESOURCES

HOLDS = Resource(
    name="holds",
    singular="hold",
    owner_path="placed_by",
    columns=(
        Column("id", "Id", "id", filterable=True),
        Column("resource", "What", choices=HELD_RESOURCES),
        Column("target_id", "Target", "id", filterable=True),
        Column("reason", "Reason"),
        Column("placed_by", "Placed by", "id", nullable=True),
        Column("version", "Version", "integer"),
        Column("created_at", "Created", "instant", filterable=True, sortable=True),
    ),
)

ERASURES = Resource(
    name="erasures",
    singular="erasure",
    owner_path="requested_by",
    columns=(
        Column("id", "Id", "id", filterable=True),
        Column("subject", "SHA-256 of the user's id", filterable=True),
        Column("conversations", "Conversations", choices=FATES),
        Column("state", "State", choices=ERASURE_STATES),
        Column("requested_by", "Asked by", "id", nullable=True),
        Column("requested_kind", "Who asked"),
        Column("request_id", "Request", nullable=True),
        Column("counts", "Removed rows", "json"),
        Column("created_at", "Asked", "instant", filterable=True, sortable=True),
        Column("finished_at", "Finished", "instant", nullable=True),
    ),
)

POLICIES = Resource(
    name="retention",
    singular="retention policy",
    owner_path="_id",
    columns=(
        Column("id", "Id", "id", filterable=True),
        Column("name", "Name"),
        Column("days", "Days", "integer"),
        Column("roles", "Roles of owners", "texts"),
        Column("tags", "Tags", "texts"),
        Column("enabled", "Enabled", "boolean"),
        Column("next_at", "Runs next", "instant"),
        Column("last_run", "Last run", "json", nullable=True),
        Column("version", "Version", "integer"),
        Column("created_at", "Created", "instant", filterable=True, sortable=True),
        Column("updated_at", "Updated", "instant"),
    ),
)
