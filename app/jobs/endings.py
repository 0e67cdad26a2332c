"""How attempts at jobs end: the job is over, or waits to be tried again."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from bson import ObjectId
from pymongo.errors import PyMongoError

from app.conversations.model import Fault
from app.jobs.claims import Claim
from app.jobs.model import JobState
from app.jobs.repository import JobRepository
from app.jobs.watching import Watching
from app.kit.clock import now
from app.kit.errors import Conflict
from app.kit.logs import logger
from app.kit.repository import Row, Scope
from app.kit.transactions import Transactions

OnEnd = Callable[[Row], Awaitable[None]]

MOST_DEATHS = 3
MOST_FAULTS = 10
_LONGEST_PAUSE_SECONDS = 60.0
_DIED = Fault(
    code="process_died",
    message=f"The server ended {MOST_DEATHS} times in the middle of this, at the same place; ask for less at once.",
)


class Endings:
    def __init__(
        self, rows: JobRepository[Any], transactions: Transactions, watching: Watching, *, kept: timedelta
    ) -> None:
        """`kept`: for how long jobs that are over stay."""
        self._rows = rows
        self._transactions = transactions
        self._watching = watching
        self._kept = kept
        self._on_end: list[OnEnd] = []
        self._after_end: list[OnEnd] = []

    def on_end(self, action: OnEnd) -> None:
        """Call `action` with each job that ends, in the transaction that ends it.

        It does nothing but read and write the database, perhaps more than once; what it has written is there when the
        job has ended, once, and not otherwise.
        """
        self._on_end.append(action)

    def after_end(self, action: OnEnd) -> None:
        """Call `action` with each job that has ended, in the process that ended it, unless this dies just then."""
        self._after_end.append(action)

    async def end(self, claim: Claim, state: JobState, values: Mapping[str, Any]) -> bool:
        """End a claimed job; False when the claim was lost."""
        return await self._ended(lambda: self._rows.end(claim, state, {**self._expiry, **values})) is not None

    async def fail(self, claim: Claim, fault: Fault) -> bool:
        return await self.end(claim, "failed", {"error": fault.model_dump()})

    async def cancel(self, scope: Scope, id: ObjectId) -> Row:
        """End a job wherever it waits or runs. Raises NotFound, and Conflict when it is over."""
        row = await self._ended(lambda: self._rows.cancel(scope, id, self._expiry))
        if row is None:
            row = await self._rows.get(scope, id)
            raise Conflict(f"This {self._rows.resource.singular} is {row['state']} already.", reason="job_is_over")
        return row

    async def outlived(self, claim: Claim, setbacks: int) -> None:
        """Its process has died: queue the job again, unless it dies with every process. `setbacks`: so far."""
        if setbacks + 1 >= MOST_DEATHS:
            await self.fail(claim, _DIED)
        elif await self._rows.give_back(claim, {"setbacks": setbacks + 1}):
            logger.warning("job_queued_again", job=str(claim.id), attempt=claim.attempt)

    async def interrupted(self, claim: Claim, setbacks: int, fault: Fault) -> None:
        """The database was away for longer than an operation may take: try again later, though not for ever."""
        if setbacks + 1 >= MOST_FAULTS:
            await self.fail(claim, fault)
            return
        pause = timedelta(seconds=min(_LONGEST_PAUSE_SECONDS, 2.0**setbacks))
        await self._rows.give_back(claim, {"setbacks": setbacks + 1, "not_before": now() + pause})

    @property
    def _expiry(self) -> dict[str, Any]:
        return {"expires_at": now() + self._kept}

    async def _ended(self, end: Callable[[], Awaitable[Row | None]]) -> Row | None:
        """The job that `end` has ended, with everybody told who wants to know."""

        async def write() -> Row | None:
            row = await end()
            if row is not None:
                for action in self._on_end:
                    await action(row)
            return row

        row = await self._transactions.run(write)
        if row is not None:
            self._watching.tell(row["_id"])
            await self._follow_up(row)
        return row

    async def _follow_up(self, row: Row) -> None:
        try:
            for action in self._after_end:
                await action(row)
        except PyMongoError as error:  # the job is over all the same, and upkeep comes by later
            logger.warning("job_end_not_followed_up", job=str(row["_id"]), error=type(error).__name__)
