"""The database that is read: its collections, and pages of their documents as of one instant.

Every page is a query of its own behind the last `_id`, so nothing is lost when a member dies between two. An instant is
a cluster time. MongoDB keeps what was true then for five minutes (`minSnapshotHistoryWindowInSeconds`), and less where
a member has started since: SnapshotGone says that it is over.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

import bson
import pymongo
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo import AsyncMongoClient, ReadPreference
from pymongo.errors import AutoReconnect, OperationFailure

from app.backups.failures import BackupFailed
from app.backups.marks import BACKUP_MARK, DEPLOYMENT, is_staged, unfinished_restore
from app.kit.clock import now

T = TypeVar("T")
Facts = dict[str, Any]

PAGE_DOCUMENTS = 4000
"""As many as one query reads at most; one reply has 16 MiB at most in any case."""
_PAGE_SECONDS = 60.0
_COUNT_SECONDS = 600.0
_PAUSES = (0.5, 1, 2, 4, 8)
_GONE = frozenset({239, 246})
"""SnapshotTooOld, and SnapshotUnavailable: the collection, or an index of it, was made since."""
_LOST = frozenset({280, 286})
"""ChangeStreamFatalError, ChangeStreamHistoryLost."""
_RAW: bson.CodecOptions[RawBSONDocument] = bson.CodecOptions(document_class=RawBSONDocument)


class SnapshotGone(Exception):
    """What was true at that instant is not known any more."""


class Source:
    """`prefers_secondary`: read documents from a secondary where there is one.

    `has_snapshots`: whether this server can answer as of an instant; instants are None where it cannot.
    """

    def __init__(
        self,
        client: AsyncMongoClient[Facts],
        name: str,
        *,
        has_snapshots: bool,
        prefers_secondary: bool = False,
        page_documents: int = PAGE_DOCUMENTS,
    ) -> None:
        self.name = name
        self.has_snapshots = has_snapshots
        self._database = client[name]
        self._preference = ReadPreference.SECONDARY_PREFERRED if prefers_secondary else ReadPreference.PRIMARY
        self._page_documents = page_documents

    async def instant(self) -> Timestamp | None:
        """Now: all that was acknowledged before is true at it."""
        return await self._mark() if self.has_snapshots else None

    async def collections(self) -> list[Facts]:
        """Name, type, options and indexes of each collection and view. Raises BackupFailed for kinds we do not know."""
        return await _persistently(self._collections)

    async def _collections(self) -> list[Facts]:
        cursor = await self._database.list_collections()
        found = [each async for each in cursor if not _is_internal(each["name"])]
        return [await self._described(each) for each in sorted(found, key=lambda each: each["name"])]

    async def expected(self, name: str) -> int:
        """About how many documents a collection has."""
        return await _persistently(self._database[name].estimated_document_count)

    async def page(self, name: str, last: Any, instant: Timestamp | None) -> list[RawBSONDocument]:
        """The next documents in the order of their `_id`, behind the document `last`; none at the end."""
        query: Facts = {"hint": {"_id": 1}}
        if last is not None:  # `min` spans all types of ids, which `$gt` does not, and is inclusive
            query |= {"min": {"_id": last["_id"]}, "filter": {"_id": {"$ne": last["_id"]}}}
        return await self._find(name, query, instant)

    async def chosen(self, name: str, ids: list[Any], instant: Timestamp | None) -> list[RawBSONDocument]:
        """Some of the documents with these ids; none when there are no more."""
        return await self._find(name, {"filter": {"_id": {"$in": ids}}}, instant)

    async def count(self, name: str, instant: Timestamp | None) -> int:
        """How many documents a collection has. Raises SnapshotGone."""
        command = {"aggregate": name, "pipeline": [{"$count": "n"}], "cursor": {}, **_concern(instant)}
        reply = await self._read(
            lambda: self._database.command(command, read_preference=self._preference), _COUNT_SECONDS
        )
        return int(reply["cursor"]["firstBatch"][0]["n"]) if reply["cursor"]["firstBatch"] else 0

    async def changed(self, since: Timestamp, until: Timestamp) -> AsyncGenerator[list[tuple[str, Any]], None]:
        """Collection and id of whatever was written after `since`, up to `until`, in batches.

        Raises BackupFailed when the log does not reach back, and when a collection was dropped or renamed meanwhile.
        """
        wanted = {"$project": {"operationType": 1, "ns": 1, "documentKey": 1, "clusterTime": 1}}
        behind = Timestamp(since.time, since.inc + 1)
        await self._mark()  # a change behind `until`, so that the end of the stream can be seen
        try:
            async with (
                await self._database.watch(
                    [wanted], start_at_operation_time=behind, batch_size=1000, max_await_time_ms=500
                ) as stream,
                aclosing(_batches(stream)) as batches,
            ):
                async for batch in batches:
                    within = [each for each in batch if each["clusterTime"] <= until]
                    yield [key for each in within if (key := _key(each)) is not None]
                    if len(within) < len(batch):
                        return
        except OperationFailure as error:
            if error.code not in _LOST:
                raise
            raise BackupFailed(
                "The database's log (oplog) is too short: it does not reach back to the beginning of this backup. Make"
                " it larger (replSetResizeOplog), or take the backup when less is written."
            ) from error

    async def require_whole(self) -> None:
        """Raise BackupFailed when a restore has not ended."""
        if await unfinished_restore(self._database):
            raise BackupFailed(f"The database {self.name} is not whole: finish the restore first (verbatim restore).")

    async def remember(self, facts: Mapping[str, Any]) -> None:
        """Note when the last backup was taken, for `verbatim doctor`."""
        change = {"$set": {"last": facts}}
        await _persistently(lambda: self._database[DEPLOYMENT].update_one({"_id": BACKUP_MARK}, change, upsert=True))

    async def _mark(self) -> Timestamp:
        """Write something, and answer when. A primary that is none any more cannot: its now is not everybody's."""
        update = {"q": {"_id": BACKUP_MARK}, "u": {"$set": {"marked_at": now()}}, "upsert": True}
        command = {"update": DEPLOYMENT, "updates": [update], "writeConcern": {"w": "majority"}}
        reply = await _persistently(lambda: self._database.command(command))
        marked: Timestamp = reply["operationTime"]
        return marked

    async def _find(self, name: str, query: Facts, instant: Timestamp | None) -> list[RawBSONDocument]:
        limits = {"limit": self._page_documents, "batchSize": self._page_documents, "singleBatch": True}
        command = {"find": name, **query, **limits, **_concern(instant)}
        reply = await self._read(
            lambda: self._database.command(command, read_preference=self._preference, codec_options=_RAW)
        )
        page: list[RawBSONDocument] = reply["cursor"]["firstBatch"]
        return page

    async def _read(self, command: Callable[[], Awaitable[T]], seconds: float = _PAGE_SECONDS) -> T:
        try:
            return await _persistently(command, seconds)
        except OperationFailure as error:
            if error.code in _GONE:
                raise SnapshotGone from error
            raise

    async def _described(self, found: Mapping[str, Any]) -> Facts:
        options = dict(found.get("options", {}))
        unknown = _UNKNOWN_OPTIONS & options.keys()
        if found["type"] not in {"collection", "view"} or unknown:
            kind = ", ".join(sorted(unknown)) or found["type"]
            raise BackupFailed(
                f"{self.name}.{found['name']} is of a kind that Verbatim does not use ({kind}): move it to another"
                " database, or use MongoDB's own tools for backups."
            )
        indexes = []
        if found["type"] == "collection":
            cursor = await self._database[found["name"]].list_indexes()
            indexes = [_plain(index) async for index in cursor]
        return {"name": found["name"], "type": found["type"], "options": options, "indexes": indexes}


_UNKNOWN_OPTIONS = {"capped", "timeseries", "clusteredIndex", "encryptedFields"}
"""Of these MongoDB keeps no snapshots (capped), or they need more than their documents."""


def _is_internal(name: str) -> bool:
    return name.startswith("system.") or is_staged(name)


def _plain(index: Mapping[str, Any]) -> Facts:
    """An index as `createIndexes` takes it."""
    return {name: value for name, value in index.items() if name != "ns"}


def _concern(instant: Timestamp | None) -> Facts:
    return {} if instant is None else {"readConcern": {"level": "snapshot", "atClusterTime": instant}}


def _key(change: Mapping[str, Any]) -> tuple[str, Any] | None:
    """What a change was of; None where that is no part of a backup."""
    name = change.get("ns", {}).get("coll", "")
    if is_staged(name):
        return None
    if "documentKey" not in change:
        raise BackupFailed(
            f"The collection {name or '?'} was changed as a whole ({change['operationType']}) while the backup ran:"
            " take another one."
        )
    return name, change["documentKey"]["_id"]


async def _batches(stream: Any) -> AsyncGenerator[list[Facts], None]:
    """The changes of a stream, as many together as are there."""
    batch: list[Facts] = []
    while True:
        change = await (stream.try_next() if batch else stream.next())
        if change is not None:
            batch.append(change)
        if change is None or len(batch) >= PAGE_DOCUMENTS:
            yield batch
            batch = []


async def _persistently(command: Callable[[], Awaitable[T]], seconds: float = _PAGE_SECONDS) -> T:
    """What a command answers that may be given twice, also while the primary changes."""
    for pause in _PAUSES:
        try:
            with pymongo.timeout(seconds):
                return await command()
        except AutoReconnect:
            await asyncio.sleep(pause)
    with pymongo.timeout(seconds):
        return await command()
