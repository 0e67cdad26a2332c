"""Queries of export jobs and of their schedules."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pymongo
from bson import ObjectId

from app.audit.audited import AuditedRepository
from app.exports.model import ExportJob, ExportSchedule
from app.exports.resource import EXPORTS, SCHEDULES
from app.jobs.repository import BATCH, JobRepository
from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.kit.repository import Row
from app.kit.transactions import current_session


class ExportRepository(AuditedRepository[ExportJob], JobRepository[ExportJob]):
    document = ExportJob
    resource = EXPORTS
    shown = ("resource", "format")

    async def kept_bytes(self, owner_id: ObjectId, *, besides: ObjectId | None = None) -> int:
        """What the files of a user take, those that are being written among them."""
        condition: dict[str, Any] = {"owner_id": owner_id, "state": {"$nin": ["failed", "cancelled"]}}
        if besides is not None:
            condition["_id"] = {"$ne": besides}
        pipeline: list[Mapping[str, Any]] = [
            {"$match": condition},
            {"$group": {"_id": None, "bytes": {"$sum": "$bytes"}}},
        ]
        with pymongo.timeout(READ_SECONDS):
            rows = await (await self.collection.aggregate(pipeline, session=current_session())).to_list()
        return int(rows[0]["bytes"]) if rows else 0

    async def newest_of(self, schedule_id: ObjectId) -> Row | None:
        """The last completed export of a schedule."""
        condition = {"schedule_id": schedule_id, "state": "completed", "due_at": {"$ne": None}}
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one(condition, sort=[("due_at", -1)], session=current_session())

    async def surplus_of(self, schedule_id: ObjectId, keep: int) -> list[ObjectId]:
        """The completed exports of a schedule but for the newest ones."""
        condition = {"schedule_id": schedule_id, "state": "completed", "due_at": {"$ne": None}}
        with pymongo.timeout(READ_SECONDS):
            rows = await self.collection.find(
                condition, {"_id": 1}, sort=[("due_at", -1)], skip=keep, limit=BATCH
            ).to_list()
        return [row["_id"] for row in rows]

    async def let_expire(self, schedule_id: ObjectId, instant: datetime) -> None:
        """Let the files of a schedule that is gone expire like any others."""
        condition = {"schedule_id": schedule_id, "state": "completed", "expires_at": None}
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.update_many(condition, {"$set": {"expires_at": instant}}, session=current_session())


class ScheduleRepository(AuditedRepository[ExportSchedule]):
    document = ExportSchedule
    resource = SCHEDULES

    async def count_of(self, owner_id: ObjectId) -> int:
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.count_documents({"owner_id": owner_id}, session=current_session())

    async def delete_of_owner(self, owner_id: ObjectId) -> None:
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.delete_many({"owner_id": owner_id}, session=current_session())

    async def due(self, instant: datetime) -> list[Row]:
        """Some of the schedules whose time has come."""
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find({"enabled": True, "next_at": {"$lte": instant}}, limit=BATCH).to_list()

    async def move_on(self, schedule: Row, next_at: datetime) -> bool:
        """Take the due instant, which one process can; False when it is taken, or the schedule has changed."""
        condition = {"_id": schedule["_id"], "enabled": True, "next_at": schedule["next_at"]}
        with pymongo.timeout(WRITE_SECONDS):
            result = await self.collection.update_one(
                condition, {"$set": {"next_at": next_at}}, session=current_session()
            )
        return result.matched_count > 0
