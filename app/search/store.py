"""Where the index is stored: four collections, written by one process at a time.

`search_indexes` has one row an index: which segments it is made of, and who builds it. A segment is an outline in
`search_segments`, its blocks in `search_blocks` and its keys in `search_keys`; whatever the index does not name is not
part of it. `search_removed` has the groups of rows that were removed from the table and not yet from the segments.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import pymongo
from bson import ObjectId
from pymongo import ReplaceOne, ReturnDocument, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import CollectionInvalid, DuplicateKeyError, OperationFailure

from app.kit.deadlines import EXPORT_PAGE_SECONDS, READ_SECONDS, WRITE_SECONDS
from app.kit.repository import Row
from app.kit.transactions import current_session
from app.search.blocks import Block, Terms
from app.search.keys import Keys
from app.search.model import SearchBlock, SearchIndex, SearchKeys, SearchRemoved, SearchSegment
from app.search.postings import Bits
from app.search.segments import Outline

_BATCH_ROWS = 500
_THERE_ALREADY = 48
_LAST = b"\xff" * 4
_COMPRESSED: Mapping[str, Any] = {"storageEngine": {"wiredTiger": {"configString": "block_compressor=zstd"}}}


Piece = TypeVar("Piece")


class LeaseLost(Exception):
    """Another process builds the index now."""


class PartsGone(Exception):
    """Parts of a segment are not there: it was replaced, and to begin again finds the new one."""


@dataclass(frozen=True)
class Place:
    """A block or a chunk of keys: of which segment, and its number there."""

    segment: ObjectId
    number: int

    @property
    def id(self) -> bytes:
        return self.segment.binary + self.number.to_bytes(4)

    @classmethod
    def of(cls, id: bytes) -> "Place":
        return cls(ObjectId(id[:12]), int.from_bytes(id[12:]))


class IndexStore:
    """The stored parts of one index, `name`. `lease_seconds`: how long whoever builds may be silent."""

    def __init__(self, name: str, *, lease_seconds: float) -> None:
        self._name = name
        amount = int(lease_seconds * 1000)
        self._expiry = {"$dateAdd": {"startDate": "$$NOW", "unit": "millisecond", "amount": amount}}

    async def prepare(self) -> None:
        """Make the collections that hold much, compressed harder than usual (measured: a quarter smaller)."""
        for collection in (self._blocks, self._keys):
            try:
                with suppress(CollectionInvalid), pymongo.timeout(WRITE_SECONDS):
                    await collection.database.create_collection(collection.name, **_COMPRESSED)
            except OperationFailure as error:
                if error.code != _THERE_ALREADY:  # another process may have just made it
                    raise

    # --- what searches read ---

    async def segment_ids(self) -> list[ObjectId]:
        """Of which segments the index is made now."""
        with pymongo.timeout(READ_SECONDS):
            row = await self._indexes.find_one({"_id": self._name}, {"segments": 1}, session=current_session())
        return [] if row is None else list(row.get("segments", []))

    async def outlines(self, ids: Sequence[ObjectId]) -> list[Outline]:
        """The outlines of those segments that are still there."""
        with pymongo.timeout(READ_SECONDS):
            rows = await self._segments.find({"_id": {"$in": list(ids)}, "rows": {"$exists": True}}).to_list()
        return [Outline.of_row(row) for row in rows]

    async def sizes(self, ids: Sequence[ObjectId]) -> dict[ObjectId, int]:
        """How many rows the segments have."""
        with pymongo.timeout(READ_SECONDS):
            rows = await self._segments.find({"_id": {"$in": list(ids)}}, {"rows": 1}).to_list()
        return {row["_id"]: row["rows"] for row in rows}

    async def blocks(self, places: Iterable[Place]) -> dict[Place, Block]:
        """Those of the blocks that are still there."""
        with pymongo.timeout(READ_SECONDS):
            rows = await self._blocks.find({"_id": {"$in": [place.id for place in places]}}).to_list()
        return {Place.of(row["_id"]): _block(row) for row in rows}

    async def chunks(self, places: Iterable[Place]) -> dict[Place, Keys]:
        """Those of the chunks of keys that are still there."""
        with pymongo.timeout(READ_SECONDS):
            rows = await self._keys.find({"_id": {"$in": [place.id for place in places]}}).to_list()
        return {Place.of(row["_id"]): Keys.unpack(row["t"], row["i"]) for row in rows}

    # --- who builds ---

    async def acquire(self, holder: str) -> bool:
        """Become, or stay, the one that builds; False while another one does."""
        with suppress(DuplicateKeyError), pymongo.timeout(WRITE_SECONDS):  # another process may have just made it
            await self._indexes.update_one({"_id": self._name}, {"$setOnInsert": {"segments": []}}, upsert=True)
        is_free = {"$or": [{"$eq": ["$holder", holder]}, {"$lt": [{"$ifNull": ["$expires_at", None]}, "$$NOW"]}]}
        with pymongo.timeout(WRITE_SECONDS):
            result = await self._indexes.update_one(
                {"_id": self._name, "$expr": is_free}, [{"$set": {"holder": holder, "expires_at": self._expiry}}]
            )
        return bool(result.matched_count)

    async def release(self, holder: str) -> None:
        """Let another process build."""
        with pymongo.timeout(WRITE_SECONDS):
            await self._indexes.update_one(
                {"_id": self._name, "holder": holder}, {"$unset": {"holder": "", "expires_at": ""}}
            )

    async def renew(self, holder: str) -> Row:
        """Stay the one that builds; answers the row of the index. Raises LeaseLost, also when nobody builds now: the
        segments may have changed."""
        return await self.change(holder, [])

    async def index(self) -> Row:
        """The whole row of the index, and `now`, the time of the database: `segments`, `retired` [{id, at}], and
        of a rebuilding `rebuild`."""
        with pymongo.timeout(READ_SECONDS):
            cursor = await self._indexes.aggregate([{"$match": {"_id": self._name}}, {"$set": {"now": "$$NOW"}}])
            return (await cursor.to_list())[0]

    async def begin_rebuilding(self) -> None:
        """Have whoever builds make all segments anew, unless they are being already."""
        fresh = {"segments": [], "old": {"$ifNull": ["$segments", []]}, "rows": 0, "last": None, "is_read": False}
        change = {"segments": {"$ifNull": ["$segments", []]}, "rebuild": {"$ifNull": ["$rebuild", fresh]}}
        with pymongo.timeout(WRITE_SECONDS):
            await self._indexes.update_one({"_id": self._name}, [{"$set": change}], upsert=True)

    async def rebuilt(self) -> int | None:
        """How many rows a rebuilding has dealt with; None when there is none."""
        rebuild = (await self.index()).get("rebuild")
        return None if rebuild is None else int(rebuild["rows"])

    async def change(self, holder: str, change: Sequence[Mapping[str, Any]]) -> Row:
        """Change the row of the index, as the one that builds, which stays it; raises LeaseLost."""
        pipeline = [*change, {"$set": {"expires_at": self._expiry}}]
        with pymongo.timeout(WRITE_SECONDS):
            row = await self._indexes.find_one_and_update(
                {"_id": self._name, "holder": holder}, pipeline, return_document=ReturnDocument.AFTER
            )
        if row is None:
            raise LeaseLost
        changed: Row = row
        return changed

    async def replace(self, holder: str, old: Sequence[ObjectId], new: Sequence[ObjectId]) -> None:
        """Put new segments in the place of old ones, which are kept for a while. Raises LeaseLost."""
        present = {"$ifNull": ["$segments", []]}
        retired = [{"id": id, "at": "$$NOW"} for id in old]
        change = {
            "segments": {"$concatArrays": [{"$setDifference": [present, list(old)]}, list(new)]},
            "retired": {"$concatArrays": [{"$ifNull": ["$retired", []]}, retired]},
        }
        await self.change(holder, [{"$set": change}])

    async def dropped(self, holder: str, ids: Sequence[ObjectId]) -> None:
        """Segments that were replaced are gone. Raises LeaseLost."""
        kept = {"$filter": {"input": "$retired", "cond": {"$not": [{"$in": ["$$this.id", list(ids)]}]}}}
        await self.change(holder, [{"$set": {"retired": kept}}])

    async def continue_rebuilding(
        self, holder: str, id: ObjectId, last: Sequence[Any], rows: int, *, is_read: bool
    ) -> None:
        """One more segment was made anew, of so many rows, the last of which is at `last`; `is_read`: it is the last
        one. Raises LeaseLost."""
        change = {
            "rebuild.segments": {"$concatArrays": ["$rebuild.segments", [id]]},
            "rebuild.rows": {"$add": ["$rebuild.rows", rows]},
            "rebuild.last": {"$literal": list(last)},
            "rebuild.is_read": is_read,
        }
        await self.change(holder, [{"$set": change}])

    async def finish_rebuilding(self, holder: str) -> None:
        """Put the segments that were made anew in the place of those that were there before. Raises LeaseLost."""
        younger = {"$setDifference": ["$segments", "$rebuild.old"]}
        retired = {"$map": {"input": "$rebuild.old", "in": {"id": "$$this", "at": "$$NOW"}}}
        change = {
            "segments": {"$concatArrays": ["$rebuild.segments", younger]},
            "retired": {"$concatArrays": [{"$ifNull": ["$retired", []]}, retired]},
        }
        await self.change(holder, [{"$set": change}, {"$unset": "rebuild"}])

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
        return Keys.joined(parts)

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

    async def forget(self, *groups: ObjectId) -> None:
        """Note that the rows of these groups are gone for good; in the transaction, if any, that removes them."""
        note = {"$setOnInsert": {"index": self._name}}
        session = current_session()
        with pymongo.timeout(WRITE_SECONDS):
            if len(groups) == 1:
                await self._removed.update_one({"_id": groups[0]}, note, upsert=True, session=session)
            else:
                writes = [UpdateOne({"_id": group}, note, upsert=True) for group in groups]
                await self._removed.bulk_write(writes, session=session)

    async def forgotten(self) -> list[ObjectId]:
        """The groups that were removed, not yet taken out of the segments."""
        with pymongo.timeout(READ_SECONDS):
            rows = await self._removed.find({"index": self._name}, limit=10_000).to_list()
        return [row["_id"] for row in rows]

    async def scrubbed(self, groups: Sequence[ObjectId]) -> None:
        """No segment holds these any more."""
        with pymongo.timeout(WRITE_SECONDS):
            await self._removed.delete_many({"_id": {"$in": list(groups)}})

    @property
    def _indexes(self) -> AsyncCollection[Row]:
        return SearchIndex.get_pymongo_collection()

    @property
    def _segments(self) -> AsyncCollection[Row]:
        return SearchSegment.get_pymongo_collection()

    @property
    def _blocks(self) -> AsyncCollection[Row]:
        return SearchBlock.get_pymongo_collection()

    @property
    def _keys(self) -> AsyncCollection[Row]:
        return SearchKeys.get_pymongo_collection()

    @property
    def _removed(self) -> AsyncCollection[Row]:
        return SearchRemoved.get_pymongo_collection()


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


async def _insert(collection: AsyncCollection[Row], rows: Sequence[Row]) -> None:
    """Insert in batches that are short enough to end soon."""
    for first in range(0, len(rows), _BATCH_ROWS):
        with pymongo.timeout(EXPORT_PAGE_SECONDS):
            await collection.insert_many(rows[first : first + _BATCH_ROWS], ordered=False)
