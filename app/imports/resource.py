"""The table of imports."""

from app.imports.formats import FORMATS
from app.imports.model import ACTIONS, ORIGINS
from app.jobs.model import JOB_STATES
from app.kit.resource import Column, Resource

IMPORTS = Resource(
    name="imports",
    singular="import",
    columns=(
        Column("id", "Id", "id", filterable=True),
        Column("owner_id", "Owner", "id", filterable=True),
        Column("action", "Action", choices=ACTIONS),
        Column("origin", "From", choices=ORIGINS),
        Column("state", "State", choices=JOB_STATES, filterable=True),
        Column("filename", "File"),
        Column("format", "Format", choices=FORMATS, nullable=True),
        Column("bytes", "Bytes", "integer"),
        Column("bytes_read", "Bytes read", "integer"),
        Column("columns", "Columns", "json"),
        Column("mapping", "Mapping", "json"),
        Column("expected", "Expected format", choices=FORMATS, nullable=True),
        Column("namespace", "Namespace", nullable=True),
        Column("restore", "Restore", "boolean"),
        Column("conversations", "Conversations", "integer"),
        Column("messages", "Messages", "integer"),
        Column("present", "There already", "integer"),
        Column("bad", "Bad", "integer"),
        Column("bad_first", "First bad ones", "json"),
        Column("errors_bytes", "Bytes of the error file", "integer"),
        Column("preview", "Preview", "json"),
        Column("undone", "Undone", "json", nullable=True),
        Column("import_id", "Undoes", "id", nullable=True),
        Column("force", "Force", "boolean"),
        Column("removed", "Removed", "integer"),
        Column("kept", "Kept", "integer"),
        Column("kept_first", "First kept ones", "json"),
        Column("error", "Error", "json", nullable=True),
        Column("version", "Version", "integer", exported=False),
        Column("created_at", "Created", "instant", filterable=True, sortable=True),
        Column("started_at", "Started", "instant", nullable=True),
        Column("finished_at", "Finished", "instant", nullable=True),
        Column("expires_at", "Expires", "instant", nullable=True),
    ),
)
