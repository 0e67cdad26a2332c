"""Queries of rooms: who is present, and what was said behind a number."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pymongo
from bson import MaxKey, MinKey, ObjectId
from pymongo import UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.read_concern import ReadConcern

from app.conversations.model import Message
from app.conversations.repository import MessageRepository
from app.conversations.resource import MESSAGES
from app.kit.clock import now
from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.kit.paging import Sort
from app.kit.repository import EVERYTHING, Row, Scope
from app.kit.schemas import INT64_MAX
from app.rooms.model import Presence

PAGE = 100
"""Messages that are read at once, fewer where they are long (16 MiB)."""
KEPT = timedelta(hours=3)
"""How long a presence is believed without being renewed."""
_BY_SEQ = Sort("seq", unique=True)


class TranscriptRepository(MessageRepository):
    """Messages as rooms read them.

    Not with read concern majority: right after a restart it may show less than the change stream has told of, and what
    is looked for then would count as removed. A primary's newest state holds everything that was told.
    """

    @property
    def collection(self) -> AsyncCollection[Row]:
        return Message.get_pymongo_collection().with_options(read_concern=ReadConcern("local"))

    async def after(
        self,
        scope: Scope,
        conversation_id: ObjectId,
        seq: int,
        *,
        through: int = INT64_MAX,
        changed_since: datetime | None = None,
    ) -> list[Row]:
        """The messages behind a number and up to another one in order, a page of them; of those only what has changed
        since."""
        numbers = {"$gt": seq, "$lte": through}
        condition: dict[str, Any] = {"conversation_id": conversation_id, "seq": numbers, **MESSAGES.live_filter}
        if changed_since is not None:
            condition |= {"updated_at": {"$gte": changed_since}, "version": {"$gt": 1}}
        with pymongo.timeout(READ_SECONDS):
            run = await self._read(scope.where(condition), MESSAGES.projection, _BY_SEQ, PAGE, session=None)
        return run.rows

    async def of_rooms(self, ids: Sequence[ObjectId], conversation_ids: Sequence[ObjectId]) -> list[Row]:
        """Those of the messages that belong to one of the conversations."""
        condition = {
            "_id": {"$in": list(ids)},
            "conversation_id": {"$in": list(conversation_ids)},
            **MESSAGES.live_filter,
        }
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find(EVERYTHING.where(condition), MESSAGES.projection).to_list()


class PresenceRepository:
    """The stored presence of all processes."""

    async def put(self, rows: Sequence[Row]) -> None:
        """Store subscriptions, also when they are stored already: {_id, user_id, name, worker}."""
        expires_at = now() + KEPT
        writes = [
            UpdateOne({"_id": row["_id"]}, {"$set": {**row, "expires_at": expires_at}}, upsert=True) for row in rows
        ]
        if writes:
            with pymongo.timeout(WRITE_SECONDS):
                await self._collection.bulk_write(writes, ordered=False)

    async def remove(self, ids: Sequence[Row]) -> None:
        if ids:
            with pymongo.timeout(WRITE_SECONDS):
                await self._collection.delete_many({"_id": {"$in": list(ids)}})

    async def remove_of(self, workers: Sequence[str]) -> int:
        """Remove what these processes have left; answers how much it was."""
        with pymongo.timeout(WRITE_SECONDS):
            result = await self._collection.delete_many({"worker": {"$in": list(workers)}})
        return result.deleted_count

    async def renew(self, worker: str) -> None:
        with pymongo.timeout(WRITE_SECONDS):
            await self._collection.update_many({"worker": worker}, {"$set": {"expires_at": now() + KEPT}})

    async def users(self, conversation_id: ObjectId) -> list[dict[str, Any]]:
        """Who follows the conversation, each once: {id, name}, in the order of the ids."""
        bounds = {
            "$gt": {"conversation_id": conversation_id, "subscription": MinKey()},
            "$lt": {"conversation_id": conversation_id, "subscription": MaxKey()},
        }
        with pymongo.timeout(READ_SECONDS):
            rows = await self._collection.find({"_id": bounds}, {"user_id": 1, "name": 1}).to_list()
        names = {row["user_id"]: row["name"] for row in rows}
        return [{"id": id, "name": names[id]} for id in sorted(names)]

    @property
    def _collection(self) -> AsyncCollection[Row]:
        return Presence.get_pymongo_collection()
