"""Where the index is stored: written by one process at a time.

A segment is an outline in `search_segments_v2`, its blocks in `search_blocks_v2` and its keys in `search_keys_v2`;
whatever the register, which is one row of `search_indexes_v2`, does not name is no part of the index.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import pymongo
from bson import ObjectId
from pymongo import ReplaceOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import CollectionInvalid, OperationFailure

from app.kit.deadlines import EXPORT_PAGE_SECONDS, READ_SECONDS, WRITE_SECONDS
from app.kit.repository import Row
from app.kit.threads import in_thread
from app.search.blocks import Block, Terms
from app.search.keys import Chunk, Keys
from app.search.model import SearchBlock, SearchKeys, SearchSegment
from app.search.postings import Bits
from app.search.register import Register
from app.search.segments import Outline

_BATCH_ROWS = 500
_THERE_ALREADY = 48
_LAST = b"\xff" * 4
_COMPACT = "block_compressor=zstd,allocation_size=512B"


Piece = TypeVar("Piece")


class PartsGone(Exception):
    """Parts of a segment are not there: it was replaced, and to begin again finds the new one."""


class Place(NamedTuple):
    """A block or a chunk of keys: of which segment, and its number there."""

    segment: ObjectId
    number: int

    @property
    def id(self) -> bytes:
        return self.segment.binary + self.number.to_bytes(4)


class IndexStore(Register):
    """The row of one index, and the stored parts of its segments."""

    async def prepare(self) -> None:
        """Make the collections that hold much, compressed harder than usual (measured: a quarter smaller), and without
        filling every page up to four kilobytes (8 % smaller)."""
        for collection in (self._blocks, self._keys):
            try:
                with suppress(CollectionInvalid), pymongo.timeout(WRITE_SECONDS):
                    await collection.database.create_collection(
                        collection.name, storageEngine={"wiredTiger": {"configString": _COMPACT}}
                    )
            except OperationFailure as error:
                if error.code != _THERE_ALREADY:  # another process may have just made it
                    raise

    # --- what searches read ---

    async def outlines(self, ids: Sequence[ObjectId]) -> list[Outline]:
        """The outlines of those segments that are still there."""
        with pymongo.timeout(READ_SECONDS):
            rows = await self._segments.find({"_id": {"$in": list(ids)}, "rows": {"$exists": True}}).to_list()
        return await in_thread(lambda: [Outline.of_row(row) for row in rows]) if rows else []

    async def sizes(self, ids: Sequence[ObjectId]) -> dict[ObjectId, int]:
        """How many rows the segments have."""
        with pymongo.timeout(READ_SECONDS):
            condition = {"_id": {"$in": list(ids)}, "rows": {"$exists": True}}
            rows = await self._segments.find(condition, {"rows": 1}).to_list()
        return {row["_id"]: row["rows"] for row in rows}

    async def blocks(self, places: Iterable[Place]) -> dict[Place, Block]:
        """Those of the blocks that are still there."""
        return {place: _block(row) for place, row in (await _find(self._blocks, places)).items()}

    async def chunks(self, places: Iterable[Place]) -> dict[Place, Chunk]:
        """Those of the chunks of keys that are still there."""
        return {place: Chunk(row["t"], row["i"]) for place, row in (await _find(self._keys, places)).items()}

    # --- writing and removing segments ---

    async def begin(self, id: ObjectId) -> None:
        """Note that a segment is being written, so that it can be found and removed should it never be finished."""
        with pymongo.timeout(WRITE_SECONDS):
            await self._segments.insert_one({"_id": id})

    async def write_blocks(self, id: ObjectId, first: int, blocks: Sequence[Block]) -> None:
        await _insert(self._blocks, [_block_row(Place(id, first + at), block) for at, block in enumerate(blocks)])

    async def write_keys(self, id: ObjectId, keys: Keys, chunks: int) -> None:
        await _insert(self._keys, [_keys_row(Place(id, number), keys.chunk(number)) for number in range(chunks)])

    async def finish(self, outline: Outline) -> None:
        """Store the outline of a segment of which everything else is stored."""
        with pymongo.timeout(WRITE_SECONDS):
            await self._segments.replace_one({"_id": outline.id}, outline.to_row(), upsert=True)

    async def note_scrubbing(self, id: ObjectId) -> None:
        """Note since when a segment's outline may show what was removed."""
        with pymongo.timeout(WRITE_SECONDS):
            await self._segments.update_one(
                {"_id": id}, [{"$set": {"scrubbed_at": {"$ifNull": ["$scrubbed_at", "$$NOW"]}}}]
            )

    async def scrubbed_before(self, ids: Sequence[ObjectId], instant: datetime) -> list[ObjectId]:
        """One of the segments that rows were taken out of so long ago; none if there is none."""
        condition = {"_id": {"$in": list(ids)}, "scrubbed_at": {"$lt": instant}}
        with pymongo.timeout(READ_SECONDS):
            rows = await self._segments.find(condition, {"_id": 1}, limit=1).to_list()
        return [row["_id"] for row in rows]

    async def known_segments(self) -> list[ObjectId]:
        """All segments of which anything is stored."""
        with pymongo.timeout(READ_SECONDS):
            rows = await self._segments.find({}, {"_id": 1}).to_list()
        return [row["_id"] for row in rows]

    async def drop(self, id: ObjectId) -> None:
        """Remove a segment, which nothing names any more."""
        # Of the length of the stored ones: the database orders by length first.
        everything = {"_id": {"$gte": Place(id, 0).id, "$lte": id.binary + _LAST}}
        for collection in (self._blocks, self._keys):
            with pymongo.timeout(EXPORT_PAGE_SECONDS):
                await collection.delete_many(everything)
        with pymongo.timeout(WRITE_SECONDS):
            await self._segments.delete_one({"_id": id})

    async def all_keys(self, outline: Outline) -> Keys:
        """All keys of a segment. Raises PartsGone."""
        parts = []
        for first in range(0, len(outline.first_keys), 1000):
            last = min(first + 1000, len(outline.first_keys))
            parts += _all_of(await self.chunks(_places(outline, first, last)), _places(outline, first, last))
        return Keys.joined([part.unpack() for part in parts])

    async def blocks_in_order(self, outline: Outline, first: int, count: int) -> list[Block]:
        """So many blocks from a number on, fewer at the end. Raises PartsGone."""
        places = _places(outline, first, min(first + count, len(outline.directory)))
        return _all_of(await self.blocks(places), places)

    async def rewrite(self, blocks: Mapping[Place, Block], keys: Mapping[Place, Keys]) -> None:
        """Put others in the place of blocks and of chunks of keys."""
        changes = [
            (self._blocks, [ReplaceOne({"_id": at.id}, _block_row(at, block)) for at, block in blocks.items()]),
            (self._keys, [ReplaceOne({"_id": at.id}, _keys_row(at, chunk)) for at, chunk in keys.items()]),
        ]
        for collection, writes in changes:
            if writes:
                with pymongo.timeout(EXPORT_PAGE_SECONDS):
                    await collection.bulk_write(writes, ordered=False)

    # --- rows that were removed from the table ---

    @property
    def _segments(self) -> AsyncCollection[Row]:
        return SearchSegment.get_pymongo_collection()

    @property
    def _blocks(self) -> AsyncCollection[Row]:
        return SearchBlock.get_pymongo_collection()

    @property
    def _keys(self) -> AsyncCollection[Row]:
        return SearchKeys.get_pymongo_collection()


def _places(outline: Outline, first: int, last: int) -> list[Place]:
    return [Place(outline.id, number) for number in range(first, last)]


def _all_of(found: Mapping[Place, Piece], places: Sequence[Place]) -> list[Piece]:
    """The pieces in the order of their places. Raises PartsGone."""
    if len(found) < len(places):
        raise PartsGone
    return [found[place] for place in places]


def _block(row: Mapping[str, Any]) -> Block:
    return Block(Terms(row["t"], row["l"]), row["c"], Bits(row["b"], row["h"]))


def _block_row(place: Place, block: Block) -> Row:
    terms, bits = block.terms, block.bits
    return {"_id": place.id, "t": terms.joined, "l": terms.lengths, "c": block.counts, "b": bits.lows, "h": bits.highs}


def _keys_row(place: Place, keys: Keys) -> Row:
    times, ids = keys.pack()
    return {"_id": place.id, "t": times, "i": ids}


async def _find(collection: AsyncCollection[Row], places: Iterable[Place]) -> dict[Place, Row]:
    """What is stored at these places, in one reply as far as that can hold it."""
    by_id = {place.id: place for place in places}
    with pymongo.timeout(READ_SECONDS):
        rows = await collection.find({"_id": {"$in": list(by_id)}}, batch_size=len(by_id) + 1).to_list()
    return {by_id[row["_id"]]: row for row in rows}


async def _insert(collection: AsyncCollection[Row], rows: Sequence[Row]) -> None:
    """Insert in batches that are short enough to end soon."""
    for first in range(0, len(rows), _BATCH_ROWS):
        with pymongo.timeout(EXPORT_PAGE_SECONDS):
            await collection.insert_many(rows[first : first + _BATCH_ROWS], ordered=False)
