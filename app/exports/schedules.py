"""Schedules: exports that start by themselves, once for each time they are due, whichever process looks first."""

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from bson import ObjectId
from pymongo.errors import DuplicateKeyError, PyMongoError

from app.auth.principal import Principal
from app.exports.calendar import next_due
from app.exports.jobs import ExportJobs, next_second
from app.exports.model import ExportSchedule, ExportSpec
from app.exports.repository import ScheduleRepository
from app.exports.resource import SCHEDULES
from app.exports.schemas import ScheduleInput
from app.exports.tables import require_export
from app.exports.wanted import understood
from app.kit.cancellation import raise_if_cancelled
from app.kit.clock import now
from app.kit.editing import edited
from app.kit.errors import Conflict, NotFound
from app.kit.etag import Versions
from app.kit.logs import logger
from app.kit.repository import EVERYTHING, Row, Scope
from app.kit.transactions import Transactions

LOOK_SECONDS = 15.0
"""How often a process looks for schedules that are due: so late an export may start."""
MOST_SCHEDULES = 20
"""Of one user."""


class ExportSchedules:
    def __init__(self, rows: ScheduleRepository, exports: ExportJobs, transactions: Transactions) -> None:
        self.rows = rows
        self._exports = exports
        self._transactions = transactions
        self._clock: asyncio.Task[None] | None = None
        exports.jobs.endings.after_end(self._drop_surplus)

    def open(self) -> None:
        self._clock = asyncio.create_task(self._look(), name="export-schedules")

    async def aclose(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            await asyncio.wait({self._clock})

    async def create(self, principal: Principal, new: ScheduleInput) -> Row:
        """Raises Forbidden, Invalid, and Conflict for one too many."""
        require_export(principal, new.export.resource)
        owner_id = principal.user_id
        if await self.rows.count_of(owner_id) >= MOST_SCHEDULES:
            raise Conflict(f"A user has at most {MOST_SCHEDULES} export schedules; remove one.", reason="too_many")
        return await self.rows.insert(ExportSchedule(owner_id=owner_id, **await _stored(new)))

    async def patch(self, principal: Principal, id: ObjectId, patch: Mapping[str, Any], versions: Versions) -> Row:
        """Change a schedule; it is due next as if it were new. Raises as `create` does, and NotFound."""
        scope = principal.scope(SCHEDULES)

        async def write(new: ScheduleInput, seen: Versions) -> Row:
            require_export(principal, new.export.resource)
            return await self.rows.update(scope, id, {"$set": await _stored(new)}, versions=seen)

        return await edited(lambda: self.rows.get(scope, id), patch, ScheduleInput, write, versions)

    async def delete(self, scope: Scope, id: ObjectId, versions: Versions) -> None:
        """Remove a schedule; its files expire like those of other exports. Raises NotFound, PreconditionFailed."""

        async def write() -> None:
            await self.rows.delete(scope, id, versions=versions)
            await self._exports.rows.let_expire(id, now() + self._exports.jobs.kept)

        await self._transactions.run(write)

    async def start_due(self) -> int:
        """Start the exports of schedules whose time has come; answers of how many.

        One that was due several times while no server ran starts once.
        """
        started = 0
        for schedule in await self.rows.due(now()):
            next_at = await next_due(schedule)
            try:
                started += await self._transactions.run(partial(self._start, schedule, next_at))
            except DuplicateKeyError:  # its job of this instant is there: a clock was put back
                await self.rows.move_on(schedule, next_at)
        return started

    async def _start(self, schedule: Row, next_at: datetime) -> bool:
        if not await self.rows.move_on(schedule, next_at):
            return False
        since = None
        if schedule["incremental"] and (last := await self._exports.rows.newest_of(schedule["_id"])):
            since = last["snapshot_at"]
        await self._exports.add(
            schedule["owner_id"],
            ExportSpec(**schedule["export"]),
            next_second(now()),
            since,
            schedule_id=schedule["_id"],
            due_at=schedule["next_at"],
        )
        return True

    async def _drop_surplus(self, row: Row) -> None:
        """Keep the newest files of a schedule."""
        if row["schedule_id"] is None or row["state"] != "completed":
            return
        schedule = await self.rows.find(EVERYTHING, {"_id": row["schedule_id"]})
        if schedule is None:
            await self._exports.rows.let_expire(row["schedule_id"], now() + self._exports.jobs.kept)
            return
        for id in await self._exports.rows.surplus_of(schedule["_id"], schedule["keep"]):
            with suppress(NotFound):  # somebody has removed it just now
                await self._exports.jobs.delete(EVERYTHING, id)

    async def _look(self) -> None:
        while True:
            raise_if_cancelled()
            await asyncio.sleep(LOOK_SECONDS * random.uniform(0.5, 1))  # noqa: S311 spreads the processes
            try:
                await self.start_due()
            except PyMongoError as error:
                logger.warning("export_schedules_not_read", error=type(error).__name__)
            except Exception:  # noqa: BLE001 one schedule that cannot start must not keep the others from it
                logger.exception("export_schedule_failed")


async def _stored(new: ScheduleInput) -> dict[str, Any]:
    """The schedule as it is stored, due from now on. Raises Invalid."""
    spec = new.export.spec
    understood(spec, now(), None, place="body.export")
    fields = new.model_dump(exclude={"export"})
    return {**fields, "export": spec.model_dump(), "next_at": await next_due(fields)}
