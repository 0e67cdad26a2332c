"""The work of an export job: from where it was cut off to the whole file.

CSV and JSON Lines are stored slice by slice, each in one transaction with the last row that is in it. Cut off, they go
on behind that row, and the file is, byte by byte, what it would have been. XLSX and Parquet have no such places: their
file is written once it is whole, and an attempt that was cut off begins again, as often as jobs may be set back.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from bson import ObjectId

from app.auth.principal import Principal
from app.exports.layout import about
from app.exports.model import ExportSpec
from app.exports.repository import ExportRepository
from app.exports.service import Sources
from app.exports.wanted import Wanted, understood
from app.jobs.run import Run
from app.kit.clock import now
from app.kit.errors import Conflict
from app.kit.export.worker import closing
from app.kit.paging import Position
from app.kit.repository import EVERYTHING, Row
from app.kit.threads import in_thread
from app.users.repository import UserRepository

FILE = "file"
"""The name of the file among those of its job."""
_APPENDED_BYTES = 4 << 20
_SHOW_SECONDS = 1.0


@dataclass(frozen=True)
class ExportLimits:
    """`slice_rows`: rows that are stored at once. `max_bytes`: what the files of one user may take."""

    slice_rows: int
    max_bytes: int


class ExportWriting:
    """Writes the files of export jobs, each with the eyes that its owner has now."""

    def __init__(
        self,
        sources: Sources,
        users: UserRepository,
        exports: ExportRepository,
        limits: ExportLimits,
        token_of: Callable[[Row], str],
    ) -> None:
        """`token_of`: by which a later export continues this one."""
        self._sources = sources
        self._users = users
        self._exports = exports
        self._limits = limits
        self._token_of = token_of

    async def __call__(self, run: Run) -> Mapping[str, Any]:
        row = run.row
        principal = await self._principal(row["owner_id"])
        wanted = understood(ExportSpec(**_spec_of(row)), row["snapshot_at"], row["since"])
        await _snapshot_taken(row)
        if row["rows_estimate"] is None:
            await run.show(rows_estimate=await wanted.estimate(self._sources, principal.scope))
        kept = await self._exports.kept_bytes(row["owner_id"], besides=row["_id"])
        writer = _Writer(run, wanted, self._limits.max_bytes - kept)
        size = self._limits.slice_rows
        if wanted.layout.format.can_continue:
            await writer.resume()
            rows = wanted.rows(self._sources, principal.scope, size=size, start=writer.position)
            await writer.write_slices(rows)
        else:
            await run.begin_again(rows=0, bytes=0)
            await writer.write_whole(wanted.rows(self._sources, principal.scope, size=size, start=None))
        return {
            **writer.progress,
            "sha256": writer.digest.hexdigest(),
            "filename": wanted.layout.filename(row["snapshot_at"]),
            "token": self._token_of(row),
            # A schedule sees itself to which of its files are kept.
            **({} if row["schedule_id"] is None else {"expires_at": None}),
        }

    async def _principal(self, owner_id: ObjectId) -> Principal:
        """Raises Conflict when the owner may not see anything any more."""
        user = await self._users.find(EVERYTHING, {"_id": owner_id}, fields=("role", "disabled"))
        principal = None if user is None else Principal.on_behalf_of(user)
        if principal is None:
            raise Conflict("The user whose export this is has been disabled or removed.")
        principal.require("export")
        return principal


class _Writer:
    """The file of one attempt, and how far it is."""

    def __init__(self, run: Run, wanted: Wanted, room: int) -> None:
        self._run = run
        self._wanted = wanted
        self._room = room
        self._about = about(wanted.layout.table, wanted.listing, run.row["snapshot_at"])
        self._began = time.monotonic()
        self._rows_before = self._rows = 0
        self._bytes = 0
        self.digest = hashlib.sha256()
        self.position: Position | None = None

    @property
    def progress(self) -> dict[str, Any]:
        seconds = max(time.monotonic() - self._began, 0.001)
        pace = round((self._rows - self._rows_before) / seconds, 1)
        return {"rows": self._rows, "bytes": self._bytes, "rows_per_second": pace}

    async def resume(self) -> None:
        """Go on at the end of what is stored."""
        row = self._run.row
        self._rows_before = self._rows = row["rows"]
        self._bytes = row["bytes"]
        if row["position"] is not None:
            self.position = Position(row["position"]["value"], row["position"]["id"])
        async with aclosing(self._run.files.read(self._run.claim.id, FILE, 0, self._bytes)) as pieces:
            async for piece in pieces:
                await self._hash([piece])

    async def write_slices(self, batches: AsyncGenerator[list[Row], None]) -> None:
        """Store each batch with the place behind it. Closes `batches`."""
        async with closing(batches):
            async for rows in batches:
                await self._write_slice(rows)
        if self._bytes == 0:
            await self._write_slice([])  # without rows a file is its header

    async def _write_slice(self, rows: list[Row]) -> None:
        layout = self._wanted.layout
        last = Position.of(rows[-1], self._wanted.sort) if rows else None
        stream = layout.stream(_one(rows), self._about, continues=self._bytes > 0)
        async with aclosing(stream) as chunks:
            pieces = [chunk async for chunk in chunks]
        self._rows += len(rows)
        place = None if last is None else {"value": last.value, "id": last.id}
        await self._append(pieces, position=place, setbacks=0)

    async def write_whole(self, batches: AsyncGenerator[list[Row], None]) -> None:
        """Store the file as it comes, which is once it is whole. Closes `batches`."""
        pieces: list[bytes] = []
        async with aclosing(self._wanted.layout.stream(self._counted(batches), self._about)) as chunks:
            async for chunk in chunks:
                pieces.append(chunk)
                if sum(map(len, pieces)) >= _APPENDED_BYTES:
                    await self._append(pieces)
                    pieces = []
        await self._append(pieces)

    async def _counted(self, batches: AsyncGenerator[list[Row], None]) -> AsyncGenerator[list[Row], None]:
        """The same batches, told of now and then; raises ClaimLost while there is nothing to append yet."""
        shown_at = time.monotonic()
        async with closing(batches):
            async for rows in batches:
                self._rows += len(rows)
                yield rows
                if time.monotonic() - shown_at >= _SHOW_SECONDS:
                    shown_at = time.monotonic()
                    await self._run.show(**self.progress)

    async def _append(self, pieces: Sequence[bytes], **values: Any) -> None:
        offset = self._bytes
        self._bytes += sum(map(len, pieces))
        if self._bytes > self._room:
            raise Conflict(
                f"With this file your exports would take more than the {self._room} bytes that are left to you; "
                "delete others, or ask for less."
            )
        await self._run.append(FILE, offset, pieces, **self.progress, **values)
        await self._hash(pieces)

    async def _hash(self, pieces: Sequence[bytes]) -> None:
        def update() -> None:
            for piece in pieces:
                self.digest.update(piece)

        await in_thread(update)


def _spec_of(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in ExportSpec.model_fields}


async def _snapshot_taken(row: Row) -> None:
    """Wait until the snapshot's instant has come: a job that starts before would miss what is still to be in it."""
    await asyncio.sleep(max(0.0, (row["snapshot_at"] - now()).total_seconds()))


async def _one(rows: list[Row]) -> AsyncGenerator[list[Row], None]:
    if rows:
        yield rows
