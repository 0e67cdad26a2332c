"""Imports as jobs: asking for one, running one for a command, undoing one."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from bson import ObjectId
from pymongo.errors import PyMongoError

from app.conversations.model import Fault
from app.imports.model import Action, ImportJob, MappedColumn, Origin
from app.imports.report import Progress
from app.imports.repository import ImportRepository
from app.imports.service import ImportOptions
from app.imports.streams import UnreadableSource
from app.imports.undo import Guard, Purge, UndoReport
from app.imports.work import ERRORS, SOURCE, ImportWork
from app.jobs.claims import ClaimLost
from app.jobs.model import UNFINISHED
from app.jobs.run import Run
from app.jobs.service import Jobs
from app.kit import metrics
from app.kit.clock import now
from app.kit.errors import Conflict, NotFound, TooManyJobs, VerbatimError
from app.kit.logs import logger
from app.kit.repository import EVERYTHING, Row, Scope
from app.kit.transactions import Transactions
from app.turns.workers import Membership


class ImportJobs:
    """Imports of all users. `jobs` runs, cancels and removes them."""

    def __init__(
        self,
        jobs: Jobs[ImportJob],
        rows: ImportRepository,
        work: ImportWork,
        new_member: Callable[[], Membership],
        renew_seconds: float,
        transactions: Transactions,
        max_unfinished: int,
    ) -> None:
        self.jobs = jobs
        self.rows = rows
        self.service = work.service
        self._work = work
        self._new_member = new_member
        self._renew_seconds = renew_seconds
        self._transactions = transactions
        self._max_unfinished = max_unfinished
        jobs.endings.on_end(self._drop_source)
        jobs.endings.after_end(_count)

    def remove_with(self, purge: Purge, guard: Guard) -> None:
        """How a conversation is removed with everything that belongs to it, and who says that it must not be."""
        self._work.purge = purge
        self._work.guard_with(guard)

    def open(self) -> None:
        """Begin to run jobs."""
        self.jobs.open(self._work)

    async def receive(self, chunks: AsyncIterator[bytes]) -> tuple[ObjectId, int]:
        """Keep a file for a job that is stored next; answers the job's id to be, and the size."""
        id, offset = ObjectId(), 0
        try:
            async for chunk in chunks:
                offset = await self.jobs.files.append(id, SOURCE, offset, [chunk])
        except BaseException:
            await self.forget(id)
            raise
        return id, offset

    async def forget(self, id: ObjectId) -> None:
        """Remove the file of a job that was never stored."""
        await self.jobs.files.clear(id)

    async def create(self, id: ObjectId, owner_id: ObjectId, size: int, options: ImportOptions) -> Row:
        """Store a job for a file that was received. Raises TooManyJobs."""
        if await self.rows.count_unfinished(owner_id) >= self._max_unfinished:
            raise TooManyJobs(f"{self._max_unfinished} imports are unfinished; wait for one to end, or cancel it.")
        return await self.rows.insert(_job(owner_id, size, options, "api", id=id))

    async def create_undo(self, scope: Scope, id: ObjectId, *, force: bool) -> Row:
        """Store a job that undoes an import. Raises NotFound, and Conflict while the import is not over."""
        return await self.rows.insert(await self._undo_of(scope, id, force=force))

    async def errors(self, scope: Scope, id: ObjectId) -> tuple[Row, AsyncGenerator[bytes, None]]:
        """The import and the file of its bad records. Raises NotFound; Conflict while it is not over."""
        row = await self.rows.get(scope, id)
        if row["state"] in UNFINISHED:
            raise Conflict(f"This import is {row['state']}: the file of its bad records is not whole yet.")
        return row, self.jobs.files.read(id, ERRORS, 0, row["errors_bytes"])

    async def run_here(
        self, path: Path, owner_id: ObjectId, options: ImportOptions, progress: Progress = lambda _: None
    ) -> Row:
        """Import a file that lies here, and answer the import when it is over.

        Raises UnreadableSource, which leaves no trace when nothing was read; Conflict when this process was taken for
        dead meanwhile.
        """
        source = await asyncio.to_thread(options.open, path)
        options = replace(options, name=options.name or path.name)
        job = _job(owner_id, source.size_bytes, options, "command")
        return await self._run_here(job, lambda run: self._work.read(run, source, options, progress))

    async def undo_here(
        self, scope: Scope, id: ObjectId, *, force: bool, progress: Callable[[UndoReport], None]
    ) -> Row:
        """Undo an import, and answer how that went. Raises NotFound, Conflict."""
        job = await self._undo_of(scope, id, force=force, origin="command")
        return await self._run_here(job, lambda run: self._work.undo(run, progress))

    async def _undo_of(self, scope: Scope, id: ObjectId, *, force: bool, origin: Origin = "api") -> ImportJob:
        row = await self.rows.get(scope, id)
        if row["action"] != "import":
            raise Conflict(f"Only imports can be undone, and this is {_WORDS[row['action']]}.")
        if row["state"] in UNFINISHED:
            raise Conflict(f"This import is {row['state']}; cancel it first.", reason="not_over")
        return ImportJob(
            owner_id=row["owner_id"], action="undo", origin=origin, filename=row["filename"], import_id=id, force=force
        )

    async def _run_here(self, job: ImportJob, work: Callable[[Run], Awaitable[Mapping[str, Any]]]) -> Row:
        """Claim a new job for this process and do it."""
        async with self._living() as worker:
            claimed = {"state": "running", "worker": worker, "attempt": 1, "started_at": now()}
            row = await self.rows.insert(job.model_copy(update=claimed))
            run = Run(row, self.rows, self.jobs.files, self._transactions)
            try:
                values = await work(run)
            except ClaimLost as error:
                raise Conflict("This import was cancelled, or taken for dead; run it again.") from error
            except asyncio.CancelledError:
                with suppress(Conflict, NotFound):
                    await self.jobs.endings.cancel(EVERYTHING, job.id)
                raise
            except (UnreadableSource, VerbatimError, PyMongoError, OSError) as error:
                await self._fail(run, error)
                raise
            await self.jobs.endings.end(run.claim, "completed", values)
        return await self.rows.get(EVERYTHING, job.id)

    async def _fail(self, run: Run, error: Exception) -> None:
        code = error.code if isinstance(error, VerbatimError) else "invalid"
        try:
            await self.jobs.endings.fail(run.claim, Fault(code=code, message=str(error) or type(error).__name__))
        except PyMongoError as again:  # then its lease tells others
            logger.warning("import_not_ended", job=str(run.claim.id), error=type(again).__name__)

    @asynccontextmanager
    async def _living(self) -> AsyncIterator[str]:
        """A worker's name of its own, which is known to live meanwhile; the pool of a server has another one."""
        member = self._new_member()
        name = await member.assure()
        task = asyncio.create_task(_renew(member, self._renew_seconds))
        try:
            yield name
        finally:
            task.cancel()
            await asyncio.wait([task])
            try:
                await member.leave(is_clean=True)
            except PyMongoError as error:
                logger.warning("worker_not_removed", error=type(error).__name__)  # its lease ends by itself

    async def _drop_source(self, row: Row) -> None:
        """Remove the file that came, with the end of its import: whatever happened, it has done its work."""
        await self.jobs.files.clear(row["_id"], SOURCE)


async def _renew(member: Membership, seconds: float) -> None:
    """Say every so many seconds that the member lives, until this is cancelled."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await member.renew()
        except PyMongoError as error:  # the next one may come through in time
            logger.warning("lease_not_renewed", error=type(error).__name__)


_WORDS: Mapping[Action, str] = {"dry_run": "a dry run", "undo": "an undo"}


def _job(owner_id: ObjectId, size: int, options: ImportOptions, origin: Origin, **more: Any) -> ImportJob:
    return ImportJob(
        **more,
        owner_id=owner_id,
        action="dry_run" if options.dry_run else "import",
        origin=origin,
        filename=options.name or "",
        bytes=size,
        columns=[MappedColumn(field=field, heading=heading) for field, heading in options.columns.items()],
        namespace=options.namespace,
        expected=options.expected,
        restore=options.restore,
    )


async def _count(row: Row) -> None:
    metrics.imports.labels(row["state"]).inc()
