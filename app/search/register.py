"""The register: of which segments an index is made, and who builds it; one row, which only that one changes.

`search_removed_v2` beside it has the groups of rows that were removed from the table and not yet from the segments.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pymongo
from bson import ObjectId
from pymongo import ReturnDocument, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import DuplicateKeyError

from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.kit.leases import ENDED, expiry, is_free_for
from app.kit.repository import Row
from app.kit.transactions import current_session
from app.search.keys import Key, instant
from app.search.model import SearchIndex, SearchRemoved


class LeaseLost(Exception):
    """Another process builds the index now."""


class Register:
    """The row of one index, `name`. `lease_seconds`: how long whoever builds may be silent."""

    def __init__(self, name: str, *, lease_seconds: float) -> None:
        self._name = name
        self._expiry = expiry(lease_seconds)

    async def segment_ids(self) -> list[ObjectId]:
        """Of which segments the index is made now."""
        with pymongo.timeout(READ_SECONDS):
            row = await self._indexes.find_one({"_id": self._name}, {"segments": 1}, session=current_session())
        return [] if row is None else list(row.get("segments", []))

    # --- who builds ---

    async def acquire(self, holder: str) -> bool:
        """Become, or stay, the one that builds; False while another one does."""
        with suppress(DuplicateKeyError), pymongo.timeout(WRITE_SECONDS):  # another process may have just made it
            await self._indexes.update_one({"_id": self._name}, {"$setOnInsert": {"segments": []}}, upsert=True)
        with pymongo.timeout(WRITE_SECONDS):
            result = await self._indexes.update_one(
                {"_id": self._name, "$expr": is_free_for(holder)},
                [{"$set": {"holder": holder, "expires_at": self._expiry}}],
            )
        return bool(result.matched_count)

    async def release(self, holder: str) -> None:
        """Let another process build."""
        with pymongo.timeout(WRITE_SECONDS):
            await self._indexes.update_one({"_id": self._name, "holder": holder}, ENDED)

    async def renew(self, holder: str) -> Row:
        """Stay the one that builds; answers the row of the index. Raises LeaseLost, also when nobody builds now: the
        segments may have changed."""
        return await self.change(holder, [])

    async def index(self) -> Row:
        """The whole row of the index, and `now`, the time of the database: `segments`, `retired` [{id, at}], and
        of a rebuilding `rebuild`."""
        with pymongo.timeout(READ_SECONDS):
            cursor = await self._indexes.aggregate([{"$match": {"_id": self._name}}, {"$set": {"now": "$$NOW"}}])
            rows = await cursor.to_list()
        if not rows:
            raise LeaseLost  # the database was dropped under whoever builds
        return rows[0]

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

    async def continue_rebuilding(self, holder: str, id: ObjectId, last: Key, rows: int, *, is_read: bool) -> None:
        """One more segment was made anew, of so many rows, the last of which is at `last`; `is_read`: it is the last
        one. Raises LeaseLost."""
        change = {
            "rebuild.segments": {"$concatArrays": ["$rebuild.segments", [id]]},
            "rebuild.rows": {"$add": ["$rebuild.rows", rows]},
            "rebuild.last": {"$literal": [instant(last[0]), ObjectId(last[1])]},
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
    def _removed(self) -> AsyncCollection[Row]:
        return SearchRemoved.get_pymongo_collection()
