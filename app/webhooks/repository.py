"""Queries of webhooks, deliveries, the relay's place in the log, and hooks."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import pymongo
from bson import ObjectId, Timestamp
from pymongo import ReturnDocument, UpdateOne
from pymongo.asynchronous.change_stream import AsyncChangeStream
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, DuplicateKeyError

from app.audit.audited import AuditedRepository
from app.kit.clock import now
from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.kit.errors import NotFound
from app.kit.leases import ENDED, expiry, is_free_for
from app.kit.repository import Repository, Row, Scope
from app.kit.transactions import current_session
from app.webhooks.events import position_of
from app.webhooks.model import Delivery, Hook, RelayState, Webhook
from app.webhooks.resource import DELIVERIES, HOOKS, WEBHOOKS

_DUPLICATE = 11000
_WAIT_MILLISECONDS = 1000
"""How long the database holds an empty answer back; what happens meanwhile comes at once."""
_ONE = "relay"
"""The id of the one row that says who reads the log."""


class WebhookRepository(AuditedRepository[Webhook]):
    document = Webhook
    resource = WEBHOOKS
    shown = ("active", "hears_all")

    async def listening(self) -> list[Row]:
        """All webhooks that are active: who they belong to and what they want to hear."""
        projection = dict.fromkeys(("owner_id", "events", "hears_all", "active_from"), 1)
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find({"active": True}, projection).to_list()

    async def active_of(self, ids: Sequence[ObjectId]) -> list[ObjectId]:
        """Those of the webhooks that are active."""
        with pymongo.timeout(READ_SECONDS):
            rows = await self.collection.find({"_id": {"$in": list(ids)}, "active": True}, {"_id": 1}).to_list()
        return [row["_id"] for row in rows]

    async def ids_of_owner(self, owner_id: ObjectId) -> list[ObjectId]:
        with pymongo.timeout(READ_SECONDS):
            return [row["_id"] for row in await self.collection.find({"owner_id": owner_id}, {"_id": 1}).to_list()]

    async def recipient(self, id: ObjectId) -> Row | None:
        """What is needed to deliver to an active webhook, its secrets among it."""
        projection = dict.fromkeys(("owner_id", "url", "secrets", "failing_since"), 1)
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one({"_id": id, "active": True}, projection)

    async def secrets(self, scope: Scope, id: ObjectId) -> tuple[list[Row], int]:
        """The secrets of a webhook and the version that has them; raises NotFound."""
        with pymongo.timeout(READ_SECONDS):
            row = await self.collection.find_one(
                scope.where({"_id": id}), {"secrets": 1, "version": 1}, session=current_session()
            )
        if row is None:
            raise NotFound("There is no such webhook.")
        return row["secrets"], row["version"]

    async def count_of(self, owner_id: ObjectId) -> int:
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.count_documents({"owner_id": owner_id}, session=current_session())

    async def note_failure(self, id: ObjectId) -> None:
        """It fails from now on, if it did not already."""
        await self._change({"_id": id, "failing_since": None}, {"failing_since": now()})

    async def note_success(self, id: ObjectId) -> None:
        await self._change({"_id": id}, {"failing_since": None})

    async def disable(self, id: ObjectId, reason: str) -> None:
        await self._change({"_id": id, "active": True}, {"active": False, "disabled_reason": reason})

    async def _change(self, condition: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.update_one(
                condition, {"$set": {**values, "updated_at": now()}, "$inc": {"version": 1}}
            )


class DeliveryRepository(Repository[Delivery]):
    document = Delivery
    resource = DELIVERIES

    async def insert_new(self, deliveries: Sequence[Delivery]) -> None:
        """Store those of which the event is not stored for the webhook already."""
        if not deliveries:
            return
        try:
            with pymongo.timeout(WRITE_SECONDS):
                await self.collection.insert_many([each.to_row() for each in deliveries], ordered=False)
        except BulkWriteError as error:
            if any(each["code"] != _DUPLICATE for each in error.details["writeErrors"]):
                raise

    async def due(self) -> list[ObjectId]:
        """Webhooks that have deliveries which are due, found by one key each, however many wait."""
        pipeline: list[dict[str, Any]] = [
            {"$match": {"state": "pending"}},
            {"$sort": {"state": 1, "webhook_id": 1, "next_attempt_at": 1}},
            {"$group": {"_id": "$webhook_id", "first": {"$first": "$next_attempt_at"}}},
            {"$match": {"$expr": {"$lte": ["$first", "$$NOW"]}}},
        ]
        with pymongo.timeout(READ_SECONDS):
            rows = await (await self.collection.aggregate(pipeline, hint="due_v1")).to_list()
        return [row["_id"] for row in rows]

    async def claim(self, webhook_id: ObjectId, claim: str, seconds: float, *, limit: int) -> list[Row]:
        """Up to `limit` deliveries of a webhook, those that are due for longest; nobody else attempts them for so long.

        The time is the database's, so that clocks need not agree.
        """
        due = {"state": "pending", "webhook_id": webhook_id, "$expr": {"$lte": ["$next_attempt_at", "$$NOW"]}}
        claimed = {"claim": claim, "next_attempt_at": expiry(seconds), "attempts": {"$add": ["$attempts", 1]}}
        projection = dict.fromkeys(("event_id", "body", "attempts", "give_up_at"), 1)
        order = [("next_attempt_at", pymongo.ASCENDING)]
        with pymongo.timeout(WRITE_SECONDS):
            rows = await self.collection.find(due, {"_id": 1}, sort=order, limit=limit, hint="due_v1").to_list()
            if not rows:
                return []
            ids = {"_id": {"$in": [row["_id"] for row in rows]}}
            # With the conditions once more, since another process may have been faster.
            await self.collection.update_many({**ids, **due}, [{"$set": claimed}], hint="_id_")
            return await self.collection.find({**ids, "claim": claim}, projection, sort=order, hint="_id_").to_list()

    async def settle(self, claimed: Sequence[Row], claim: str, outcomes: Sequence[Mapping[str, Any]]) -> int:
        """Store what became of attempts; answers of how many: others have been claimed by another process since."""
        instant = now()
        changes = [
            UpdateOne(
                {"_id": row["_id"], "claim": claim},
                {"$set": {**outcome, "claim": None, "updated_at": instant}, "$inc": {"version": 1}},
            )
            for row, outcome in zip(claimed, outcomes, strict=True)
        ]
        with pymongo.timeout(WRITE_SECONDS):
            return (await self.collection.bulk_write(changes, ordered=False)).matched_count

    async def let_go(self, claimed: Sequence[Row], claim: str) -> None:
        """Attempts were broken off by us: they are due again, and did not count."""
        condition = {"_id": {"$in": [row["_id"] for row in claimed]}, "claim": claim}
        change = {"$set": {"claim": None, "next_attempt_at": now()}, "$inc": {"attempts": -1}}
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.update_many(condition, change)

    async def delete_of_webhook(self, webhook_id: ObjectId) -> None:
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.delete_many({"webhook_id": webhook_id}, session=current_session())

    async def count_waiting(self, most: int) -> int:
        """How many are not delivered yet, up to `most`."""
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.count_documents({"state": "pending"}, limit=most, hint="due_v1")

    async def has_more_waiting(self, webhook_id: ObjectId, count: int) -> bool:
        """Whether more than so many deliveries of a webhook wait; counts no further."""
        condition = {"state": "pending", "webhook_id": webhook_id}
        with pymongo.timeout(READ_SECONDS):
            row = await self.collection.find_one(condition, {"_id": 0, "state": 1}, skip=count, hint="due_v1")
        return row is not None

    async def delete_of_conversation(self, conversation_id: ObjectId) -> None:
        """All but what says that it was deleted."""
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.delete_many(
                {"conversation_id": conversation_id, "type": {"$ne": "conversation.deleted"}},
                session=current_session(),
            )


class RelayRepository:
    """Which process reads the log, and how far it has come."""

    def __init__(self, *, lease_seconds: float) -> None:
        """`lease_seconds`: how long whoever reads may be silent."""
        self.lease_seconds = lease_seconds
        self._expiry = expiry(lease_seconds)

    async def log_position(self) -> int:
        """A place in the log that nothing precedes which happens from now on."""
        with pymongo.timeout(READ_SECONDS):
            reply = await self._collection.database.command("ping")
        return position_of(reply["operationTime"])

    async def follow(self, pipeline: Sequence[Mapping[str, Any]], place: Row, *, batch: int) -> AsyncChangeStream[Row]:
        """The changes of the whole database behind a place in the log, of which the pipeline lets some through."""
        token, start = place.get("token"), place.get("start") or 0
        database: AsyncDatabase[Row] = self._collection.database
        return await database.watch(
            pipeline,
            resume_after=token,
            start_at_operation_time=None if token else Timestamp(start >> 32, start & 0xFFFF_FFFF),
            max_await_time_ms=_WAIT_MILLISECONDS,
            batch_size=batch,
        )

    async def prepare(self, start: int) -> None:
        """Let the log be read from here on, if nobody has begun to. Not part of any transaction."""
        with suppress(DuplicateKeyError), pymongo.timeout(WRITE_SECONDS):  # another process may have just made it
            await self._collection.update_one({"_id": _ONE}, {"$setOnInsert": {"start": start}}, upsert=True)

    async def acquire(self, holder: str) -> Row | None:
        """Become, or stay, the one that reads: where to go on. None while another one does, or nobody has to."""
        with pymongo.timeout(WRITE_SECONDS):
            row: Row | None = await self._collection.find_one_and_update(
                {"_id": _ONE, "$expr": is_free_for(holder)},
                [{"$set": {"holder": holder, "expires_at": self._expiry}}],
                return_document=ReturnDocument.AFTER,
            )
        return row

    async def move(
        self, holder: str, *, token: Mapping[str, Any] | None, start: int | None, told_at: datetime | None
    ) -> bool:
        """Everything before this place is told; False when another process reads by now."""
        place = {"token": {"$literal": token}, "start": start, "told_at": told_at, "expires_at": self._expiry}
        with pymongo.timeout(WRITE_SECONDS):
            result = await self._collection.update_one({"_id": _ONE, "holder": holder}, [{"$set": place}])
        return bool(result.matched_count)

    async def release(self, holder: str) -> None:
        """Let another process read."""
        with pymongo.timeout(WRITE_SECONDS):
            await self._collection.update_one({"_id": _ONE, "holder": holder}, ENDED)

    @property
    def _collection(self) -> Any:
        return RelayState.get_pymongo_collection()


class HookRepository(AuditedRepository[Hook]):
    document = Hook
    resource = HOOKS

    async def with_secret(self, id: ObjectId) -> Row | None:
        projection = dict.fromkeys(("owner_id", "conversation_id", "role", "secret"), 1)
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one({"_id": id}, projection)

    async def count_of(self, conversation_id: ObjectId) -> int:
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.count_documents(
                {"conversation_id": conversation_id}, session=current_session()
            )

    async def delete_of(self, condition: Mapping[str, ObjectId]) -> None:
        """Those of an owner or a conversation."""
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.delete_many(dict(condition), session=current_session())
