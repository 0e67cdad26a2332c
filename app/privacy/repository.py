"""Queries of holds, erasures and retention policies, and of rows by the user they belong to."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pymongo
from beanie import Document
from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.asynchronous.collection import AsyncCollection

from app.audit.audited import AuditedRepository
from app.conversations.model import Conversation
from app.conversations.resource import CONVERSATIONS
from app.kit.clock import now
from app.kit.deadlines import EXPORT_PAGE_SECONDS, READ_SECONDS, WRITE_SECONDS
from app.kit.documents import StoredDocument
from app.kit.paging import Cursors, Position, Sort, after
from app.kit.repository import Repository, Row
from app.kit.resource import Resource
from app.kit.transactions import current_session
from app.privacy.model import Erasure, Hold, RetentionPolicy
from app.privacy.resource import ERASURES, HOLDS, POLICIES

BATCH = 200
HANDED_OUT_AT_ONCE = 50
_OLDEST_FIRST = Sort("created_at")
_AGED = dict.fromkeys(("owner_id", "hold_id", "version", "message_count", "last_message_at", "created_at"), 1)


class HoldRepository(AuditedRepository[Hold]):
    document = Hold
    resource = HOLDS
    shown = ("resource",)


class ErasureRepository(Repository[Erasure]):
    document = Erasure
    resource = ERASURES

    async def running_of(self, user_id: ObjectId) -> Row | None:
        """The erasure of a user that is not over."""
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one({"user_id": user_id}, session=current_session())

    async def lease(self, id: ObjectId, holder: str, until: datetime) -> Row | None:
        """Let this process carry an erasure out until then, also anew; None when another one does, or it is over."""
        is_free = {"$or": [{"holder": {"$in": [holder, None]}}, {"lease_until": {"$lte": now()}}]}
        with pymongo.timeout(WRITE_SECONDS):
            return await self.collection.find_one_and_update(
                {"_id": id, "state": "running", **is_free},
                {"$set": {"holder": holder, "lease_until": until}},
                return_document=ReturnDocument.AFTER,
                session=current_session(),
            )

    async def let_go(self, id: ObjectId, holder: str, until: datetime) -> None:
        """Let whoever asks go on with it, and from then on any process by itself. In no transaction: that is over."""
        change = {"$set": {"holder": None, "lease_until": until}}
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.update_one({"_id": id, "holder": holder}, change)

    async def abandoned(self) -> list[ObjectId]:
        """Erasures that nobody carries out."""
        with pymongo.timeout(READ_SECONDS):
            rows = await self.collection.find(
                {"user_id": {"$gte": ObjectId("0" * 24)}, "lease_until": {"$lte": now()}}, {"_id": 1}, limit=BATCH
            ).to_list()
        return [row["_id"] for row in rows]

    async def count(self, id: ObjectId, counts: Mapping[str, int]) -> None:
        """Add to what was removed, in the transaction that removes it where there is one."""
        added = {f"counts.{name}": number for name, number in counts.items() if number}
        if added:
            with pymongo.timeout(WRITE_SECONDS):
                await self.collection.update_one({"_id": id}, {"$inc": added}, session=current_session())

    async def choose(self, id: ObjectId, fate: str) -> None:
        """Another word about the conversations than the one it began with."""
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.update_one({"_id": id}, {"$set": {"conversations": fate}}, session=current_session())

    async def complete(self, id: ObjectId) -> None:
        """The erasure is over, and forgets whom it was about."""
        values = {"state": "completed", "user_id": None, "holder": None, "lease_until": None, "finished_at": now()}
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.update_one({"_id": id}, {"$set": values}, session=current_session())


class PolicyRepository(AuditedRepository[RetentionPolicy]):
    document = RetentionPolicy
    resource = POLICIES
    shown = ("days", "roles", "enabled")

    async def take_due(self, holder: str, until: datetime) -> Row | None:
        """A policy whose time has come and that no other process works on, which this one does until then."""
        instant = now()
        is_free = {"$or": [{"lease_until": None}, {"lease_until": {"$lt": instant}}]}
        with pymongo.timeout(WRITE_SECONDS):
            return await self.collection.find_one_and_update(
                {"enabled": True, "next_at": {"$lte": instant}, **is_free},
                {"$set": {"holder": holder, "lease_until": until}},
                sort=[("next_at", 1)],
                return_document=ReturnDocument.AFTER,
            )

    async def go_on(self, id: ObjectId, holder: str, version: int, until: datetime) -> bool:
        """Whether this process still works on the policy as it has read it."""
        with pymongo.timeout(WRITE_SECONDS):
            result = await self.collection.update_one(
                {"_id": id, "holder": holder, "version": version, "enabled": True}, {"$set": {"lease_until": until}}
            )
        return result.matched_count > 0

    async def end_run(self, policy: Row, holder: str, next_at: datetime, last_run: Mapping[str, Any]) -> None:
        """Store what a run did, and when the next one is due: at once when the policy was changed meanwhile."""
        mine = {"_id": policy["_id"], "holder": holder}
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.update_one({**mine, "version": policy["version"]}, {"$set": {"next_at": next_at}})
            await self.collection.update_one(
                mine, {"$set": {"holder": None, "lease_until": None, "last_run": dict(last_run)}}
            )

    async def count(self) -> int:
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.count_documents({}, session=current_session())


class AgedConversations(Repository[Conversation]):
    """Conversations whatever their status, by how old their last message is."""

    document = Conversation
    resource = replace(CONVERSATIONS, live_filter={})

    async def older_than(self, instant: datetime, tags: Sequence[str]) -> AsyncGenerator[list[Row], None]:
        """Those whose last message is older, or that have none and are older themselves, the oldest first in batches:
        {owner_id, hold_id, version, message_count, last_message_at, created_at}."""
        tagged: Mapping[str, Any] = {"tags": {"$in": list(tags)}} if tags else {}
        for path, condition in (("last_message_at", {}), ("created_at", {"last_message_at": None})):
            aged = {path: {"$lt": instant}, **condition, **tagged}
            async for rows in self._batches(aged, Sort(path)):
                yield rows

    async def _batches(self, condition: Mapping[str, Any], sort: Sort) -> AsyncGenerator[list[Row], None]:
        position: Position | None = None
        while True:
            selected = condition if position is None else {"$and": [condition, after(sort, position)]}
            with pymongo.timeout(EXPORT_PAGE_SECONDS):
                run = await self._read(selected, _AGED, sort, BATCH, session=None)
            if run.rows:
                yield run.rows
            position = run.end(sort)
            if position is None:
                return


class PersonalRows(Repository[StoredDocument]):
    """Rows of a collection by the user they belong to."""

    resource = Resource("personal-data", ())

    def __init__(self, cursors: Cursors, document: type[Document]) -> None:
        super().__init__(cursors)
        self._document = document

    @property
    def collection(self) -> AsyncCollection[Row]:
        return self._document.get_pymongo_collection()

    async def all_of(
        self, condition: Mapping[str, Any], projection: Mapping[str, int]
    ) -> AsyncGenerator[list[Row], None]:
        """All rows of the condition, the oldest first: up to a batch and 16 MiB at a time, each a query of its own."""
        position: Position | None = None
        while True:
            selected = condition if position is None else {"$and": [condition, after(_OLDEST_FIRST, position)]}
            with pymongo.timeout(EXPORT_PAGE_SECONDS):
                run = await self._read(selected, projection, _OLDEST_FIRST, HANDED_OUT_AT_ONCE, session=None)
            if run.rows:
                yield run.rows
            position = run.end(_OLDEST_FIRST)
            if position is None:
                return

    async def count_of(self, condition: Mapping[str, Any]) -> int:
        """How many rows there are, as the transaction sees them."""
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.count_documents(dict(condition), session=current_session())

    async def ids_of(self, condition: Mapping[str, Any]) -> list[ObjectId]:
        """The ids of rows of which one user has few."""
        with pymongo.timeout(READ_SECONDS):
            rows = await self.collection.find(dict(condition), {"_id": 1}, session=current_session()).to_list()
        return [row["_id"] for row in rows]

    async def remove(self, condition: Mapping[str, Any]) -> int:
        """Remove rows; answers how many there were."""
        with pymongo.timeout(WRITE_SECONDS):
            result = await self.collection.delete_many(dict(condition), session=current_session())
        return result.deleted_count
