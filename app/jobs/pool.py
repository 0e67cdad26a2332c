"""The workers of a process: so many jobs at the same time, and an end to those that are not ours any more."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from pymongo.errors import PyMongoError

from app.conversations.model import Fault
from app.jobs.claims import Claim, ClaimLost
from app.jobs.endings import Endings
from app.jobs.files import JobFiles
from app.jobs.repository import JobRepository
from app.jobs.run import Run
from app.jobs.watching import Watching
from app.kit.cancellation import raise_if_cancelled
from app.kit.database_errors import translate
from app.kit.errors import Unavailable, VerbatimError
from app.kit.logs import logger
from app.kit.repository import Row
from app.kit.transactions import Transactions
from app.turns.workers import Membership

Work = Callable[[Run], Awaitable[Mapping[str, Any]]]
"""Does a job from where its row says that it is; answers what is stored with its completion. A VerbatimError fails the
job with its sentence; a database that is away lets it wait and be tried again."""

IDLE_SECONDS = 10.0
"""How often a worker looks by itself: jobs that wait for their time are told of by nobody."""
_FAULT = Fault(code="internal_error", message="Something went wrong on our side; the server's log says what.")


@dataclass(frozen=True)
class _Attempt:
    run: Run
    worker: str
    task: "asyncio.Future[Mapping[str, Any]]"


class WorkerPool:
    def __init__(
        self,
        rows: JobRepository[Any],
        files: JobFiles,
        transactions: Transactions,
        membership: Membership,
        endings: Endings,
        watching: Watching,
    ) -> None:
        self._rows = rows
        self._files = files
        self._transactions = transactions
        self._membership = membership
        self._endings = endings
        self._attempts: dict[Claim, _Attempt] = {}
        self._claiming = 0
        self._workers: list[asyncio.Task[None]] = []
        self._checks: set[asyncio.Task[None]] = set()
        self._may_be_more = asyncio.Event()
        self._is_stopping = False
        watching.listen(self._on_change)
        membership.when_lost(self._on_name_lost)

    def open(self, work: Work, workers: int) -> None:
        """Begin to take jobs, so many at the same time."""
        name = self._rows.resource.name
        self._workers = [
            asyncio.create_task(self._take_jobs(work), name=f"{name}-{number}") for number in range(workers)
        ]

    def stop(self) -> None:
        """Take no more jobs, and give back those that run."""
        self._is_stopping = True
        self._may_be_more.set()
        for attempt in self._attempts.values():
            attempt.task.cancel()

    async def aclose(self) -> None:
        """Return when everything is given back."""
        self.stop()
        if tasks := [*self._workers, *self._checks]:
            await asyncio.wait(tasks)

    def may_have(self, claim: Claim) -> bool:
        """Whether the job is worked on here, or may be about to."""
        return claim in self._attempts or self._claiming > 0

    def _on_change(self, id: ObjectId | None) -> None:
        self._may_be_more.set()
        for claim, attempt in self._attempts.items():
            if id is None or claim.id == id:
                check = asyncio.create_task(self._end_if_lost(attempt))
                self._checks.add(check)
                check.add_done_callback(self._checks.discard)

    async def _end_if_lost(self, attempt: _Attempt) -> None:
        try:
            if await self._rows.has_lost(attempt.run.claim):
                attempt.task.cancel()
        except PyMongoError as error:  # the work's next write finds out as well
            logger.info("job_not_looked_at", error=type(error).__name__)

    def _on_name_lost(self, name: str) -> None:
        for attempt in self._attempts.values():
            if attempt.worker == name:
                attempt.task.cancel()

    async def _take_jobs(self, work: Work) -> None:
        """One worker: job after job, until the process stops."""
        while not self._is_stopping:
            self._may_be_more.clear()
            if not await self._take_one(work):
                await self._idle()

    async def _take_one(self, work: Work) -> bool:
        """Do the next job; False when there is none, or the database is away."""
        try:
            raise_if_cancelled()
            row = await self._claim()
            if row is not None:
                await self._do(work, row)
        except PyMongoError as error:
            logger.warning("jobs_interrupted", jobs=self._rows.resource.name, error=type(error).__name__)
            return False
        except Exception:  # noqa: BLE001 one job that cannot be stored must not keep the others from their turn
            logger.exception("jobs_interrupted", jobs=self._rows.resource.name)
            return False
        return row is not None

    async def _claim(self) -> Row | None:
        self._claiming += 1
        try:
            return await self._rows.claim(await self._membership.assure()) if await self._rows.is_any_queued() else None
        finally:
            self._claiming -= 1

    async def _idle(self) -> None:
        """Return when there may be a job."""
        try:
            async with asyncio.timeout(IDLE_SECONDS * random.uniform(0.8, 1.2)):  # noqa: S311 spreads the processes
                await self._may_be_more.wait()
        except TimeoutError:
            return

    async def _do(self, work: Work, row: Row) -> None:
        run = Run(row, self._rows, self._files, self._transactions)
        attempt = _Attempt(run, row["worker"], asyncio.ensure_future(work(run)))
        self._attempts[run.claim] = attempt
        try:
            if self._is_stopping:
                attempt.task.cancel()
            await asyncio.wait({attempt.task})
            await self._settle(attempt)
        finally:
            del self._attempts[run.claim]

    async def _settle(self, attempt: _Attempt) -> None:
        """Store what came of it. A claim that is lost makes each of these do nothing."""
        claim, task = attempt.run.claim, attempt.task
        if task.cancelled():
            await self._rows.give_back(claim, {})
            return
        error = task.exception()
        if error is None:
            await self._endings.end(claim, "completed", task.result())
        elif not isinstance(error, ClaimLost):
            await self._settle_failure(attempt.run, error)

    async def _settle_failure(self, run: Run, error: BaseException) -> None:
        known = error if isinstance(error, VerbatimError) else None
        if known is None and isinstance(error, Exception):
            known = translate(error, is_write=False)
        if known is None:
            logger.error("job_failed", job=str(run.claim.id), exc_info=error)
            await self._endings.fail(run.claim, _FAULT)
            return
        fault = Fault(code=known.code, message=known.detail)
        if isinstance(known, Unavailable):
            logger.warning("job_interrupted", job=str(run.claim.id), error=type(error).__name__)
            await self._endings.interrupted(run.claim, run.row["setbacks"], fault)
        else:
            await self._endings.fail(run.claim, fault)
