"""The database into a file, as of one instant, while others go on writing to it.

All is read as of one instant, as long as MongoDB knows what was true then (five minutes). A copy that takes longer
goes on as of later instants and is a mixture at first; then whatever has changed since the first of them, as the
database's log tells, is read again as of a new instant. That is less, so it takes less time; it is repeated until it
was read as of one instant, of which the file then is.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

import bson
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp

from app.backups.failures import BackupFailed
from app.backups.frames import BackupWriter
from app.backups.source import Facts, SnapshotGone, Source
from app.backups.spool import Spool
from app.kit.clock import now
from app.kit.threads import in_thread

T = TypeVar("T")

CHOSEN_AT_ONCE = 1000
_MOST_ROUNDS = 20
_PAUSE = 0.2


@dataclass(frozen=True)
class Step:
    """How far it is: documents and bytes of a collection, which have just been dealt with."""

    name: str
    documents: int
    bytes: int


@dataclass(frozen=True)
class Saved:
    """`instant`: None where the server had no snapshots. `rounds`: how often what had changed was read again."""

    instant: Timestamp | None
    documents: dict[str, int]
    bytes: int
    sha256: str
    rounds: int


class Saving:
    """One backup. `report` is called in the event loop. Raises BackupFailed, PyMongoError, OSError."""

    def __init__(self, source: Source, writer: BackupWriter, version: str, report: Callable[[Step], None]) -> None:
        self._source = source
        self._writer = writer
        self._version = version
        self._report = report
        self._instant: Timestamp | None = None
        self._known: dict[str, Facts] = {}
        self._counts: dict[str, int] = {}
        self._writing: asyncio.Task[None] | None = None

    async def save(self, expect: Callable[[dict[str, int]], None]) -> Saved:
        """Write the whole file; `expect` hears about how many documents there are."""
        self._instant = first = await self._source.instant()
        collections = await self._source.collections()
        expected = {each["name"]: await self._source.expected(each["name"]) for each in collections if _has_rows(each)}
        expect(expected)
        header = {
            "_id": bson.ObjectId(),
            "verbatim": self._version,
            "database": self._source.name,
            "started_at": now(),
            "expected": expected,
        }
        await self._write(lambda: self._writer.begin(header))
        try:
            for each in collections:
                await self._copy(each)
            return await self._finish(await self._refresh(first))
        finally:
            await self._drained()

    async def _copy(self, collection: Facts) -> None:
        name = collection["name"]
        self._known[name] = collection
        await self._write(lambda: self._writer.collection(collection))
        if not _has_rows(collection):
            return
        last: RawBSONDocument | None = None
        while page := await self._read(self._source.page, name, last):
            last = page[-1]
            await self._documents(name, page)

    async def _refresh(self, since: Timestamp | None) -> int:
        """Read again what has changed while it was read, until all is of one instant; answers how often."""
        rounds = 0
        while self._instant != since:
            rounds += 1
            if rounds > _MOST_ROUNDS:
                raise BackupFailed(
                    "The database changes faster than it can be read: take the backup when less is written, or make"
                    " minSnapshotHistoryWindowInSeconds larger."
                )
            assert since is not None  # noqa: S101 instants change only where there are any
            since = await self._renew(since)
        return rounds

    async def _renew(self, since: Timestamp) -> Timestamp:
        """Write anew what has changed from an instant to now; answers the instant that this round has begun with."""
        self._instant = until = await self._source.instant()
        assert until is not None  # noqa: S101
        with Spool() as spool:
            async with aclosing(self._source.changed(since, until)) as batches:
                async for batch in batches:
                    await in_thread(lambda keys=batch: spool.add(keys))  # type: ignore[misc]
            await self._add_new_collections()
            async for name, keys in _in_threads(spool, CHOSEN_AT_ONCE):
                await self._replace(name, keys)
        for name in (name for name, each in self._known.items() if _has_rows(each)):
            self._counts[name] = await self._read(self._source.count, name)
        return until

    async def _replace(self, name: str, keys: list[bytes]) -> None:
        remaining = {key: bson.decode(key)["_id"] for key in keys}
        ids = list(remaining.values())
        await self._write(lambda: self._writer.replaced(name, ids))
        while page := await self._read(self._source.chosen, name, list(remaining.values())):
            for document in page:
                remaining.pop(bson.encode({"_id": document["_id"]}), None)
            await self._documents(name, page)
            if not remaining:
                return

    async def _add_new_collections(self) -> None:
        """Collections that were made meanwhile: all of their documents are among what has changed."""
        for each in await self._source.collections():
            if each["name"] not in self._known:
                self._known[each["name"]] = each
                await self._write(lambda facts=each: self._writer.collection(facts))  # type: ignore[misc]

    async def _finish(self, rounds: int) -> Saved:
        await self._drained()
        counts = self._writer.written | self._counts
        facts = {"instant": self._instant, "finished_at": now(), "rounds": rounds}
        digest = await in_thread(lambda: self._writer.finish(facts, counts))
        return Saved(self._instant, counts, self._writer.bytes, digest.hex(), rounds)

    async def _read(self, read: Callable[..., Awaitable[T]], *what: Any) -> T:
        """What is read as of `_instant`, which is a new one from here on when that is gone."""
        for _ in range(_MOST_ROUNDS):
            try:
                return await read(*what, self._instant)
            except SnapshotGone:
                await asyncio.sleep(_PAUSE)  # one that is younger than an index of the collection is gone as well
                self._instant = await self._source.instant()
        raise BackupFailed(
            "MongoDB does not keep what is read for as long as one query takes: make minSnapshotHistoryWindowInSeconds"
            " larger."
        )

    async def _documents(self, name: str, page: list[RawBSONDocument]) -> None:
        documents = [document.raw for document in page]
        await self._write(lambda: self._writer.documents(documents, len(documents)))
        self._report(Step(name, len(documents), sum(map(len, documents))))

    async def _write(self, work: Callable[[], None]) -> None:
        """Have it written, while the next is read."""
        await self._drained()
        self._writing = asyncio.create_task(in_thread(work))

    async def _drained(self) -> None:
        task, self._writing = self._writing, None
        if task is not None:
            await task


def _has_rows(collection: Facts) -> bool:
    return bool(collection["type"] == "collection")


async def _in_threads(spool: Spool, size: int) -> AsyncIterator[tuple[str, list[bytes]]]:
    batches = spool.batches(size)
    while (batch := await in_thread(lambda: next(batches, None))) is not None:
        yield batch
