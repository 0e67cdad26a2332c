"""The tables of export jobs and of their schedules."""

from collections.abc import Mapping
from typing import Any

from app.jobs.model import JOB_STATES
from app.kit.resource import Column, Resource
from app.kit.responses import path_of


class _Exports(Resource):
    def render(self, row: Mapping[str, Any], fields: tuple[str, ...] = ()) -> dict[str, Any]:
        """The job, with the path of its file once there is one."""
        wire = super().render(row, fields)
        if not fields:
            wire["file"] = path_of("exports", row["_id"], "file") if row["state"] == "completed" else None
        return wire


EXPORTS = _Exports(
    name="exports",
    singular="export",
    columns=(
        Column("id", "Id", "id", filterable=True),
        Column("owner_id", "Owner", "id", filterable=True),
        Column("resource", "What"),
        Column("format", "Format"),
        Column("filters", "Filters", "json"),
        Column("columns", "Columns", "texts", nullable=True),
        Column("raw", "For programs", "boolean"),
        Column("tz", "Time zone"),
        Column("state", "State", choices=JOB_STATES, filterable=True),
        Column("rows", "Rows", "integer"),
        Column("rows_estimate", "Rows, estimated", "integer", nullable=True),
        Column("rows_per_second", "Rows a second", "number", nullable=True),
        Column("bytes", "Bytes", "integer"),
        Column("sha256", "SHA-256", nullable=True),
        Column("filename", "File name", nullable=True),
        Column("token", "Token", nullable=True),
        Column("error", "Error", "json", nullable=True),
        Column("schedule_id", "Schedule", "id", nullable=True, filterable=True),
        Column("since", "Changes since", "instant", nullable=True),
        Column("snapshot_at", "Snapshot", "instant"),
        Column("created_at", "Created", "instant", filterable=True, sortable=True),
        Column("started_at", "Started", "instant", nullable=True),
        Column("finished_at", "Finished", "instant", nullable=True),
        Column("expires_at", "Expires", "instant", nullable=True),
    ),
)

SCHEDULES = Resource(
    name="export-schedules",
    singular="export schedule",
    columns=(
        Column("id", "Id", "id", filterable=True),
        Column("owner_id", "Owner", "id", filterable=True),
        Column("name", "Name"),
        Column("export", "Export", "json"),
        Column("every", "Every"),
        Column("at", "At"),
        Column("time_zone", "Time zone"),
        Column("weekday", "Weekday", nullable=True),
        Column("keep", "Files kept", "integer"),
        Column("incremental", "Only changes", "boolean"),
        Column("enabled", "Enabled", "boolean"),
        Column("next_at", "Due", "instant"),
        Column("version", "Version", "integer"),
        Column("created_at", "Created", "instant", filterable=True, sortable=True),
        Column("updated_at", "Updated", "instant"),
    ),
)
