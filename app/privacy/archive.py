"""A user's data as one zip: a file of JSON Lines for each collection, and what they are in `manifest.json`.

Made as it is sent, in constant memory. The manifest comes last and the directory of the zip behind it, so that a
download that was cut off is no archive, and not a smaller one.
"""

import zipfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from functools import partial
from typing import IO, Any, cast

from bson import ObjectId

from app.kit.clock import now
from app.kit.paging import Cursors
from app.kit.repository import Row
from app.kit.responses import to_json
from app.kit.threads import in_thread
from app.privacy.inventory import EXPORTED, INVENTORY, Holding
from app.privacy.repository import PersonalRows

MANIFEST = "manifest.json"


class PersonalData:
    def __init__(self, cursors: Cursors) -> None:
        self._cursors = cursors

    async def of(self, user_id: ObjectId) -> AsyncGenerator[bytes, None]:
        """The archive in pieces. It is read while others write: each row as it is when its turn comes."""
        archive, started, counts = _Archive(), now(), dict[str, int]()
        for holding in EXPORTED:
            archive.begin(f"{holding.name}.jsonl", started)
            counts[holding.name] = 0
            assert holding.of is not None  # noqa: S101 what is exported is somebody's
            rows = PersonalRows(self._cursors, holding.document).all_of(holding.of(user_id), holding.projection)
            async with aclosing(rows) as batches:
                async for batch in batches:
                    counts[holding.name] += len(batch)
                    yield await in_thread(partial(archive.add, holding, batch, user_id))
        archive.begin(MANIFEST, started)
        yield await in_thread(partial(archive.finish, _manifest(user_id, started, counts)))


def _manifest(user_id: ObjectId, started: datetime, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "begun_at": started,
        "finished_at": now(),
        "files": [
            {"name": f"{each.name}.jsonl", "rows": counts[each.name], "withheld": each.withheld} for each in EXPORTED
        ],
        "left_out": {each.name: each.left_out for each in INVENTORY if not each.is_exported},
    }


class _Archive:
    """Writes a zip into memory, from where it is taken away piece by piece. Its calls block: made in threads."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._zip = zipfile.ZipFile(cast("IO[bytes]", self._sink), "w", zipfile.ZIP_DEFLATED)
        self._file: IO[bytes] | None = None

    def begin(self, name: str, at: datetime) -> None:
        """End the file before and begin the next one."""
        self._end_file()
        info = zipfile.ZipInfo(name, at.timetuple()[:6])
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        self._file = self._zip.open(info, "w", force_zip64=True)

    def add(self, holding: Holding, rows: list[Row], user_id: ObjectId) -> bytes:
        """Write rows, and take what has come of it so far."""
        for row in rows:
            self._write(_line(holding.shown(row, user_id)))
        return self._sink.take()

    def finish(self, manifest: dict[str, Any]) -> bytes:
        self._write(to_json(manifest))
        self._end_file()
        self._zip.close()
        return self._sink.take()

    def _write(self, data: bytes) -> None:
        assert self._file is not None  # noqa: S101 a file was begun
        self._file.write(data)

    def _end_file(self) -> None:
        if self._file is not None:
            self._file.close()


def _line(row: Row) -> bytes:
    return to_json({"id": row["_id"], **{name: value for name, value in row.items() if name != "_id"}}) + b"\n"


class _Sink:
    """A file that cannot be sought in: what is written waits to be taken."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def write(self, data: bytes) -> int:
        self._buffer += data
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        taken = bytes(self._buffer)
        self._buffer.clear()
        return taken
