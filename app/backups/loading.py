"""A file into the database: all of it, or nothing that a server would take for a database.

Rows come under other names first. When all have come, the file has proved to be whole and the indexes are built, a mark
tells that the collections are being replaced, and they are. Cut short before the mark, a restore begins anew; after it,
it goes on there.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import BinaryIO

from app.backups.failures import BackupFailed
from app.backups.fates import CHANGED, LEFT_OUT
from app.backups.marks import DEPLOYMENT, LOADING, REPLACING, RESTORE_MARK
from app.backups.reading import BackupReader, Collection, Documents, Header, Part, Replaced, Trailer
from app.backups.saving import Step
from app.backups.target import Target
from app.kit.clock import now
from app.kit.threads import in_thread

_AT_ONCE = 3
"""Blocks of documents that are stored at the same time."""


@dataclass(frozen=True)
class Checked:
    """A whole file."""

    header: Header
    trailer: Trailer
    bytes: int


async def check(file: BinaryIO, expect: Callable[[Header], None], report: Callable[[Step], None]) -> Checked:
    """Read a file to its end and write nothing. Raises BackupFailed, DamagedBackup among them."""
    reader = BackupReader(file)
    header: Header | None = None
    async with aclosing(_parts(reader)) as parts:
        async for part in parts:
            match part:
                case Header():
                    header = part
                    expect(header)
                case Documents():
                    report(Step(part.name, len(part.documents), part.bytes))
                case Trailer() if header is not None:
                    return Checked(header, part, reader.bytes)
    raise AssertionError("a file without a trailer is refused by its reader")


class Loading:
    """One restore. `report` is called in the event loop. Raises BackupFailed, PyMongoError, OSError."""

    def __init__(self, target: Target, file: BinaryIO, report: Callable[[Step], None], *, drop: bool) -> None:
        """`drop`: what is in the database may be replaced."""
        self._target = target
        self._reader = BackupReader(file)
        self._report = report
        self._drop = drop
        self._collections: dict[str, Collection] = {}
        self._inserts: set[asyncio.Task[None]] = set()

    async def load(self, expect: Callable[[Header], None]) -> Header:
        """Restore the whole file; `expect` hears what it is."""
        async with aclosing(_parts(self._reader)) as parts:
            header = await anext(parts)
            assert isinstance(header, Header)  # noqa: S101 the reader sees to it
            expect(header)
            await self._target.require_no_servers()
            if not await self._is_staged(header):
                await self._stage(header, parts)
        await self._replace()
        return header

    async def _is_staged(self, header: Header) -> bool:
        """Whether this very file has come already, in a restore that was cut short. Raises BackupFailed."""
        mark = await self._target.mark()
        if mark is None or mark["state"] != REPLACING:
            return False
        if mark["backup"] != header.id:
            raise BackupFailed(
                f"A restore of another backup, of {mark['taken_at']:%Y-%m-%d %H:%M} UTC, was cut short while it"
                f" replaced the database {self._target.name}: finish it with that file first."
            )
        return True

    async def _stage(self, header: Header, parts: AsyncGenerator[Part, None]) -> None:
        held = await self._target.holding()
        if held and not self._drop:
            raise BackupFailed(
                f"The database {self._target.name} is not empty ({', '.join(held[:5])}{', ...' if held[5:] else ''}):"
                " say --drop to replace all of it, or --into NAME to restore beside it."
            )
        mark = {"_id": RESTORE_MARK, "backup": header.id, "taken_at": header.started_at, "since": now()}
        if not held:
            await self._target.set_mark({**mark, "state": LOADING})
        await self._target.remove_staged()
        try:
            trailer = await self._fill(parts)
        finally:
            await self._settled(cancel=True)
        await self._complete(trailer)
        names = sorted({*self._rows(), DEPLOYMENT})
        views = [{"name": each.name, "options": each.options} for each in self._collections.values() if _is_view(each)]
        replacing = {**mark, "state": REPLACING, "prefix": self._target.prefix, "names": names, "views": views}
        await self._target.require_own()
        await self._target.set_mark(replacing, staged=True)
        await self._target.require_no_servers()
        await self._target.set_mark(replacing)

    async def _fill(self, parts: AsyncGenerator[Part, None]) -> Trailer:
        async for part in parts:
            match part:
                case Collection():
                    self._collections[part.name] = part
                    if not _is_view(part):
                        await self._target.stage(part)
                case Documents():
                    await self._insert(part)
                    self._report(Step(part.name, len(part.documents), part.bytes))
                case Replaced():
                    await self._settled()
                    await self._target.remove(part.name, part.ids)
                case Trailer():
                    await self._settled()
                    return part
        raise AssertionError("a file without a trailer is refused by its reader")

    async def _complete(self, trailer: Trailer) -> None:
        """What has come is counted, then changed where it has to be, then indexed: some indexes remove what is old."""
        for name in self._rows():
            wanted, found = trailer.documents[name], await self._target.count(name)
            if found != wanted and name not in LEFT_OUT:
                raise BackupFailed(
                    f"{name} has {found:,} documents after the restore, but {wanted:,} in the backup: restore it again."
                )
        for name, pipeline in CHANGED.items():
            if name in self._collections:
                await self._target.change(name, pipeline)
        for name in self._rows():
            await self._target.build_indexes(self._collections[name])
            await self._target.add_rules(self._collections[name])

    async def _replace(self) -> None:
        mark = await self._target.mark()
        assert mark is not None  # noqa: S101 it was set or found before
        await self._target.replace_all(mark["prefix"], mark["names"], mark["views"])
        await self._target.clear_mark()

    def _rows(self) -> list[str]:
        return [name for name, each in self._collections.items() if not _is_view(each)]

    async def _insert(self, part: Documents) -> None:
        if part.name in LEFT_OUT:
            return
        while len(self._inserts) >= _AT_ONCE:
            await self._wait(asyncio.FIRST_COMPLETED)
        self._inserts.add(asyncio.create_task(self._target.insert(part.name, part.documents)))

    async def _settled(self, *, cancel: bool = False) -> None:
        """Nothing is being stored any more."""
        for task in self._inserts if cancel else ():
            task.cancel()
        if self._inserts:
            await self._wait(asyncio.ALL_COMPLETED, is_quiet=cancel)

    async def _wait(self, when: str, *, is_quiet: bool = False) -> None:
        done, self._inserts = await asyncio.wait(self._inserts, return_when=when)
        faults = [fault for task in done if not task.cancelled() and (fault := task.exception())]
        if faults and not is_quiet:
            raise faults[0]


def _is_view(collection: Collection) -> bool:
    return collection.type == "view"


async def _parts(reader: BackupReader) -> AsyncGenerator[Part, None]:
    """The parts of a file, which is read in threads."""
    parts = iter(reader)
    while (part := await in_thread(lambda: next(parts, None))) is not None:
        yield part
