"""Queries of jobs of any kind."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, TypeVar

import pymongo
from bson import ObjectId
from pymongo import ReturnDocument

from app.jobs.claims import Claim
from app.jobs.model import UNFINISHED, Job, JobState
from app.kit.clock import now
from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.kit.repository import Repository, Row, Scope
from app.kit.transactions import current_session

J = TypeVar("J", bound=Job)
BATCH = 100


class JobRepository(Repository[J]):
    """The jobs of one kind, whole: what a client is shown of them is the resource's to say."""

    async def is_any_queued(self) -> bool:
        """Whether there may be something to claim: cheaper to ask than to claim, for who is idle."""
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one({"state": "queued"}, {"_id": 1}) is not None

    async def count_waiting(self, most: int) -> int:
        """How many wait, up to `most`."""
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.count_documents({"state": "queued"}, limit=most)

    async def claim(self, worker: str) -> Row | None:
        """Make the job that has waited longest this worker's, under its next attempt; None when none waits."""
        return await self._change(
            {"state": "queued", "not_before": {"$not": {"$gt": now()}}},
            {"state": "running", "worker": worker, "not_before": None, "started_at": now()},
            counting={"attempt": 1},
            sort=[("created_at", 1), ("_id", 1)],
        )

    async def advance(self, claim: Claim, values: Mapping[str, Any]) -> Row | None:
        """Store how far the claimed job is; None when the claim is lost."""
        return await self._change(claim.condition, values)

    async def give_back(self, claim: Claim, values: Mapping[str, Any]) -> Row | None:
        """Let any process have the claimed job; None when the claim was lost."""
        return await self._change(claim.condition, {**values, "state": "queued", "worker": None})

    async def end(self, claim: Claim, state: JobState, values: Mapping[str, Any]) -> Row | None:
        """End the claimed job; None when the claim is lost."""
        return await self._change(claim.condition, _ended(state, values))

    async def cancel(self, scope: Scope, id: ObjectId, values: Mapping[str, Any]) -> Row | None:
        """End a job that waits or runs, wherever that is; None when there is none."""
        condition = scope.where({"_id": id, "state": {"$in": list(UNFINISHED)}})
        return await self._change(condition, _ended("cancelled", values))

    async def has_lost(self, claim: Claim) -> bool:
        """Whether the claim does not hold any more."""
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one(claim.condition, {"_id": 1}) is None

    async def running(self) -> list[Row]:
        """Some of the jobs that run: their ids, attempts, workers and setbacks."""
        fields = {"attempt": 1, "worker": 1, "setbacks": 1}
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find({"state": "running"}, fields, limit=BATCH).to_list()

    async def ids_of_owner(self, owner_id: ObjectId) -> list[ObjectId]:
        with pymongo.timeout(READ_SECONDS):
            rows = await self.collection.find({"owner_id": owner_id}, {"_id": 1}).to_list()
        return [row["_id"] for row in rows]

    async def count_unfinished(self, owner_id: ObjectId) -> int:
        condition = {"owner_id": owner_id, "state": {"$in": list(UNFINISHED)}}
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.count_documents(condition, session=current_session())

    async def expired(self, instant: datetime) -> list[ObjectId]:
        """Some of the jobs whose time is over."""
        with pymongo.timeout(READ_SECONDS):
            rows = await self.collection.find({"expires_at": {"$lt": instant}}, {"_id": 1}, limit=BATCH).to_list()
        return [row["_id"] for row in rows]

    async def remove(self, id: ObjectId) -> None:
        """Remove a job whose time is over."""
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.delete_one({"_id": id})

    async def existing(self, ids: Collection[ObjectId]) -> set[ObjectId]:
        """Those of the ids that are jobs."""
        with pymongo.timeout(READ_SECONDS):
            rows = await self.collection.find({"_id": {"$in": list(ids)}}, {"_id": 1}).to_list()
        return {row["_id"] for row in rows}

    async def _change(
        self,
        condition: Mapping[str, Any],
        values: Mapping[str, Any],
        *,
        counting: Mapping[str, int] | None = None,
        sort: list[tuple[str, int]] | None = None,
    ) -> Row | None:
        change = {"$set": {**values, "updated_at": now()}, "$inc": {"version": 1, **(counting or {})}}
        with pymongo.timeout(WRITE_SECONDS):
            return await self.collection.find_one_and_update(
                dict(condition), change, sort=sort, return_document=ReturnDocument.AFTER, session=current_session()
            )


def _ended(state: JobState, values: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, "state": state, "worker": None, "not_before": None, "finished_at": now()}
