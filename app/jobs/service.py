"""The jobs of one kind, as the rest of the application knows them."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from bson import ObjectId

from app.jobs.endings import Endings
from app.jobs.files import JobFiles
from app.jobs.model import UNFINISHED, Job
from app.jobs.pool import Work, WorkerPool
from app.jobs.repository import JobRepository
from app.jobs.upkeep import Upkeep
from app.jobs.watching import Watching
from app.kit.changes import ChangeFeed
from app.kit.errors import NotFound
from app.kit.repository import EVERYTHING, Row, Scope
from app.kit.streaming import Drain
from app.kit.transactions import Transactions
from app.turns.workers import Membership

J = TypeVar("J", bound=Job)


@dataclass(frozen=True)
class JobOptions:
    """`workers`: jobs at the same time in this process; 0 leaves them to others. `kept`: how long ended ones stay."""

    workers: int
    kept: timedelta


class Jobs(Generic[J]):
    """`endings` tells who wants to know when a job ends; `upkeep.tidy` has to be called every now and then."""

    def __init__(
        self,
        rows: JobRepository[J],
        files: JobFiles,
        transactions: Transactions,
        membership: Membership,
        feed: ChangeFeed,
        options: JobOptions,
    ) -> None:
        self.rows = rows
        self.files = files
        self._options = options
        self._watching = Watching(rows.document.get_settings().name or "", feed)
        self.endings = Endings(rows, transactions, self._watching, kept=options.kept)
        self._pool = WorkerPool(rows, files, transactions, membership, self.endings, self._watching)
        self.upkeep = Upkeep(rows, files, membership, self.endings, self._pool)

    @property
    def kept(self) -> timedelta:
        """For how long jobs that are over stay."""
        return self._options.kept

    def open(self, work: Work) -> None:
        """Begin to run jobs."""
        self._pool.open(work, self._options.workers)

    def stop(self) -> None:
        """The process is told to stop: other ones go on with what runs here."""
        self._pool.stop()

    async def aclose(self) -> None:
        await self._pool.aclose()

    async def delete(self, scope: Scope, id: ObjectId) -> None:
        """Remove a job with its files, whatever its state. Raises NotFound."""
        await self.rows.delete(scope, id)
        self._watching.tell(id)
        await self.files.clear(id)

    async def delete_of_owner(self, owner_id: ObjectId) -> int:
        """Remove all jobs of a user with their files; answers how many."""
        removed = 0
        for id in await self.rows.ids_of_owner(owner_id):
            with suppress(NotFound):  # it has just expired
                await self.delete(EVERYTHING, id)
                removed += 1
        return removed

    async def ended(self, scope: Scope, id: ObjectId, seconds: float, drain: Drain) -> Row:
        """The job once it is over, or as it is after so many seconds or when the server stops. Raises NotFound."""
        deadline = asyncio.get_running_loop().time() + seconds
        with self._watching.listening(id) as changed, drain.calling(changed.set):
            while True:
                changed.clear()
                row = await self.rows.get(scope, id)
                if row["state"] not in UNFINISHED or drain.has_started or not await _set_before(deadline, changed):
                    return row


async def _set_before(deadline: float, event: asyncio.Event) -> bool:
    """Wait for the event; False when the deadline came first."""
    try:
        async with asyncio.timeout_at(deadline):
            await event.wait()
    except TimeoutError:
        return False
    return True
