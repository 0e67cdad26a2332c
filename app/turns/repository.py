"""Queries of turns and of their event log. Leases are compared with the database's clock, never with ours."""

from datetime import timedelta
from typing import Any

import pymongo
from bson import ObjectId
from pymongo import ReturnDocument

from app.kit.clock import now
from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.kit.paging import Cursors
from app.kit.repository import Repository, Row
from app.kit.transactions import current_session
from app.turns.model import Turn, TurnEvents
from app.turns.resource import TURNS

EVENTS_KEPT = timedelta(hours=24)
_OVER = {"$expr": {"$lt": ["$lease.expires_at", "$$NOW"]}}


class TurnRepository(Repository[Turn]):
    document = Turn
    resource = TURNS

    def __init__(self, cursors: Cursors, *, lease_seconds: float) -> None:
        """`lease_seconds`: how long a turn is believed to run after its process was last heard of."""
        super().__init__(cursors)
        self.lease_seconds = lease_seconds
        amount = int(lease_seconds * 1000)
        self._lease_end = {"$dateAdd": {"startDate": "$$NOW", "unit": "millisecond", "amount": amount}}

    async def begin(self, turn: Turn, worker: str) -> Row:
        """Store a new turn and give its lease to `worker`."""
        row = await self.insert(turn)
        return await self._take_lease(row["_id"], worker)

    async def _take_lease(self, id: ObjectId, worker: str) -> Row:
        with pymongo.timeout(WRITE_SECONDS):
            row = await self.collection.find_one_and_update(
                {"_id": id},
                [{"$set": {"lease": {"worker": worker, "expires_at": self._lease_end}}}],
                projection=TURNS.projection,
                return_document=ReturnDocument.AFTER,
                session=current_session(),
            )
        return dict(row or {})

    async def renew(self, worker: str, ids: list[ObjectId]) -> None:
        """Say that the worker still runs these turns."""
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.update_many(
                {"_id": {"$in": ids}, "state": "running", "lease.worker": worker},
                [{"$set": {"lease.expires_at": self._lease_end}}],
            )

    async def find_by_key(self, conversation_id: ObjectId, key: str) -> Row | None:
        """The turn that came with this idempotency key, with its fingerprint."""
        condition = {"conversation_id": conversation_id, "idempotency_key": key}
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one(condition, {**TURNS.projection, "fingerprint": 1})

    async def finish(self, id: ObjectId, outcome: dict[str, Any], *, worker: str | None) -> Row | None:
        """Put the outcome on a running turn: its worker's, or (without one) a turn whose lease is over."""
        owner = _OVER if worker is None else {"lease.worker": worker}
        instant = now()
        change = {
            "$set": {**outcome, "lease": None, "updated_at": instant, "finished_at": instant},
            "$inc": {"version": 1},
        }
        with pymongo.timeout(WRITE_SECONDS):
            return await self.collection.find_one_and_update(
                {"_id": id, "state": "running", **owner},
                change,
                projection=TURNS.projection,
                return_document=ReturnDocument.AFTER,
                session=current_session(),
            )

    async def abandoned(self, *, limit: int = 100) -> list[Row]:
        """Running turns whose worker has stopped renewing."""
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find({"state": "running", **_OVER}, TURNS.projection, limit=limit).to_list()

    async def find_abandoned(self, id: ObjectId) -> Row | None:
        """The turn, if its worker has stopped renewing."""
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one({"_id": id, "state": "running", **_OVER}, TURNS.projection)

    async def delete_of_conversation(self, conversation_id: ObjectId) -> None:
        """Remove the turns of a purged conversation; their event logs expire by themselves."""
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.delete_many({"conversation_id": conversation_id}, session=current_session())

    async def log(self, turn_id: ObjectId, seq: int, text: str) -> None:
        """Append a delta to the turn's log; done when a majority has it."""
        row = {"turn_id": turn_id, "seq": seq, "text": text, "expires_at": now() + EVENTS_KEPT}
        with pymongo.timeout(WRITE_SECONDS):
            await TurnEvents.get_pymongo_collection().insert_one(row)

    async def logged(self, turn_id: ObjectId) -> list[str]:
        """The deltas that were logged, in order."""
        with pymongo.timeout(READ_SECONDS):
            rows = await TurnEvents.get_pymongo_collection().find({"turn_id": turn_id}, sort=[("seq", 1)]).to_list()
        return [row["text"] for row in rows]
