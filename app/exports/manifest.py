"""What stands beside a file: what is in it and what is not, and how to tell that it is whole."""

from collections.abc import Mapping
from typing import Any

from app import __version__
from app.exports.wanted import OVERLAP

_SAME = ("resource", "format", "filters", "columns", "raw", "tz", "filename", "rows", "bytes", "sha256", "token")
_INSTANTS = ("since", "snapshot_at", "created_at", "started_at", "finished_at")
_SNAPSHOT = (
    "Rows that were written before snapshot_at and were there when they were read, as they were then. Rows written "
    "from snapshot_at on are not in the file; changes and deletions made while it was written may show."
)
_CHANGES = (
    f"Rows that were created or changed from {OVERLAP.seconds} seconds before `since` until snapshot_at, as they were "
    "when they were read: some may be in the export before too, in their latest form here. A row that changed after "
    "snapshot_at is left to the next export. Rows that were deleted are not told of."
)
_STREAMING = (
    " Messages whose answer was still being written have the status `streaming` and come again when it is whole."
)


def manifest(row: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of a completed export."""
    contents = _SNAPSHOT if row["since"] is None else _CHANGES
    if row["resource"] == "messages":
        contents += _STREAMING
    return {
        "export_id": row["_id"],
        **{name: row[name] for name in (*_SAME, *_INSTANTS)},
        "version": __version__,
        "contents": contents,
    }
