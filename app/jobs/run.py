"""A job at work: what the work may do to its own job."""

from collections.abc import Sequence
from typing import Any

from app.jobs.claims import Claim, ClaimLost
from app.jobs.files import JobFiles
from app.jobs.model import Job
from app.jobs.repository import JobRepository
from app.kit.cancellation import raise_if_cancelled
from app.kit.repository import Row
from app.kit.transactions import Transactions


class Run:
    """One attempt at a job. `row` is the job as it was stored last."""

    def __init__(self, row: Row, rows: JobRepository[Job], files: JobFiles, transactions: Transactions) -> None:
        self.row = row
        self.claim = Claim.of(row)
        self.files = files
        self.transactions = transactions
        self._rows = rows

    async def show(self, **values: Any) -> None:
        """Store how far the work is. Raises ClaimLost."""
        raise_if_cancelled()
        row = await self._rows.advance(self.claim, values)
        if row is None:
            raise ClaimLost
        self.row = row

    async def advance(self, **values: Any) -> None:
        """Store from where the work goes on when it is cut off; past setbacks are forgotten. Raises ClaimLost.

        What else is written in the same transaction happens only if the claim holds.
        """
        await self.show(**values, setbacks=0)

    async def append(self, name: str, offset: int, pieces: Sequence[bytes], **values: Any) -> None:
        """Append to a file of the job, which ends at `offset`, and store values: both or neither. Raises ClaimLost."""

        async def write() -> None:
            await self.show(**values)
            await self.files.append(self.claim.id, name, offset, pieces)

        await self.transactions.run(write)

    async def begin_again(self, **values: Any) -> None:
        """Remove the job's files and store values: both or neither. Raises ClaimLost."""

        async def write() -> None:
            await self.show(**values)
            await self.files.clear(self.claim.id)

        await self.transactions.run(write)
