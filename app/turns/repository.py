"""Queries of turns."""

from collections.abc import Mapping, Sequence
from typing import Any

import pymongo
from bson import ObjectId
from pymongo import ReturnDocument

from app.kit.clock import now
from app.kit.deadlines import EXPORT_PAGE_SECONDS, READ_SECONDS, WRITE_SECONDS
from app.kit.repository import Repository, Row, Scope
from app.kit.transactions import current_session
from app.turns.model import Turn
from app.turns.resource import STORED_TURN, TURNS

BATCH = 100


class TurnRepository(Repository[Turn]):
    document = Turn
    resource = TURNS

    async def find_stored(self, condition: Mapping[str, Any]) -> Row | None:
        """The first turn of the condition, with everything that is needed to run it."""
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one(dict(condition), STORED_TURN, session=current_session())

    async def find_by_key(self, conversation_id: ObjectId, key: str) -> Row | None:
        """The turn that came with this idempotency key, with its fingerprint."""
        condition = {"conversation_id": conversation_id, "idempotency_key": key}
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one(condition, {**STORED_TURN, "fingerprint": 1})

    async def count_waiting(self, most: int) -> int:
        """How many wait, up to `most`."""
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.count_documents({"state": "queued"}, limit=most)

    async def start(self, id: ObjectId, worker: str) -> Row | None:
        """Make a turn that waits a running one of this worker; None when it does not wait any more."""
        return await self._change(
            {"_id": id, "state": "queued"}, {"state": "running", "worker": worker, "started_at": now()}
        )

    async def finish(self, id: ObjectId, outcome: Mapping[str, Any], *, worker: str | None) -> Row | None:
        """Put the outcome on a turn of this worker that is running, or (without one) on a turn that is waiting."""
        running = {"state": "queued"} if worker is None else {"state": "running", "worker": worker}
        return await self._change({"_id": id, **running}, {**outcome, "worker": None})

    async def set_suggestions(self, id: ObjectId, suggestions: Sequence[str]) -> Row | None:
        return await self._change({"_id": id}, {"suggestions": list(suggestions)})

    async def request_cancel(self, scope: Scope, id: ObjectId) -> None:
        """Ask whichever process runs the turn to cancel it."""
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.update_one(
                scope.where({"_id": id, "state": "running"}), {"$set": {"cancel_requested_at": now()}}
            )

    async def to_cancel(self, worker: str) -> list[ObjectId]:
        """Running turns of the worker that somebody wants cancelled."""
        condition = {"state": "running", "worker": worker, "cancel_requested_at": {"$ne": None}}
        with pymongo.timeout(READ_SECONDS):
            return [row["_id"] for row in await self.collection.find(condition, {"_id": 1}, limit=BATCH).to_list()]

    async def running_of(self, workers: Sequence[str]) -> list[Row]:
        """Some of the running turns of these workers."""
        with pymongo.timeout(READ_SECONDS):
            condition = {"state": "running", "worker": {"$in": list(workers)}}
            return await self.collection.find(condition, STORED_TURN, limit=BATCH).to_list()

    async def waiting(self) -> list[Row]:
        """Some of the turns that wait: their ids and conversations."""
        with pymongo.timeout(READ_SECONDS):
            cursor = self.collection.find(
                {"state": "queued"}, {"conversation_id": 1}, sort=[("created_at", 1)], limit=BATCH
            )
            return await cursor.to_list()

    async def offered_tools(self, scope: Scope, conversation_ids: Sequence[ObjectId]) -> list[Row]:
        """What tools the turns of these conversations offered, as rows {conversation_id, tools, first}: each JSON text
        once, with the number of the first answer it was offered for, in the order of these numbers."""
        pipeline: list[dict[str, Any]] = [
            {"$match": scope.where({"conversation_id": {"$in": list(conversation_ids)}, "tools": {"$ne": None}})},
            {"$group": {"_id": {"of": "$conversation_id", "tools": "$tools"}, "first": {"$min": "$answer_seq"}}},
            {"$project": {"_id": 0, "conversation_id": "$_id.of", "tools": "$_id.tools", "first": 1}},
            {"$sort": {"first": 1}},
        ]
        with pymongo.timeout(EXPORT_PAGE_SECONDS):
            return await (await self.collection.aggregate(pipeline)).to_list()

    async def unfinished(self, conversation_id: ObjectId) -> list[Row]:
        """The turns of a conversation that run or wait, the newest first."""
        condition = {"conversation_id": conversation_id, "state": {"$in": ["running", "queued"]}}
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find(condition, STORED_TURN, sort=[("created_at", -1)]).to_list()

    async def ids_of_conversation(self, conversation_id: ObjectId) -> list[ObjectId]:
        with pymongo.timeout(READ_SECONDS):
            rows = await self.collection.find({"conversation_id": conversation_id}, {"_id": 1}).to_list()
        return [row["_id"] for row in rows]

    async def delete_of_conversation(self, conversation_id: ObjectId) -> None:
        """Remove the turns of a purged conversation."""
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.delete_many({"conversation_id": conversation_id}, session=current_session())

    async def _change(self, condition: Mapping[str, Any], values: Mapping[str, Any]) -> Row | None:
        """Set values on the turn of the condition, count its version up, and answer it."""
        with pymongo.timeout(WRITE_SECONDS):
            return await self.collection.find_one_and_update(
                dict(condition),
                {"$set": {**values, "updated_at": now()}, "$inc": {"version": 1}},
                projection=STORED_TURN,
                return_document=ReturnDocument.AFTER,
                session=current_session(),
            )
