"""What has to be seen to for jobs of all processes: those of the dead, those whose time is over, files of nobody."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from app.jobs.claims import Claim
from app.jobs.endings import Endings
from app.jobs.files import JobFiles
from app.jobs.pool import WorkerPool
from app.jobs.repository import JobRepository
from app.kit.clock import now
from app.turns.workers import Membership

EXPIRY_SECONDS = 60.0
STRAY_SECONDS = 600.0


class Upkeep:
    def __init__(
        self,
        rows: JobRepository[Any],
        files: JobFiles,
        membership: Membership,
        endings: Endings,
        pool: WorkerPool,
    ) -> None:
        self._rows = rows
        self._files = files
        self._membership = membership
        self._endings = endings
        self._pool = pool
        self._strays: set[Claim] = set()
        self._expire_at = self._drop_at = 0.0

    async def tidy(self, _: Sequence[str]) -> None:
        """One look, of the many that every process takes."""
        await self._take_from_the_dead()
        if time.monotonic() >= self._expire_at:
            self._expire_at = time.monotonic() + EXPIRY_SECONDS
            await self.expire()
        if time.monotonic() >= self._drop_at:
            self._drop_at = time.monotonic() + STRAY_SECONDS
            await self.drop_stray_files()

    async def expire(self) -> None:
        """Remove jobs whose time is over, with their files."""
        while ids := await self._rows.expired(now()):
            for id in ids:
                await self._rows.remove(id)
                await self._files.clear(id)

    async def drop_stray_files(self) -> None:
        """Remove files whose job is gone: a process was killed while it removed both."""
        owners = await self._files.owners()
        for id in set(owners) - await self._rows.existing(owners):
            await self._files.clear(id)

    async def _take_from_the_dead(self) -> None:
        """Let other processes go on with jobs whose process is dead, or does not know of them.

        What seems to be a stray of ours is looked at twice, since it may just have been given back.
        """
        running = await self._rows.running()
        if not running:
            self._strays = set()
            return
        mine = self._membership.id
        living = await self._membership.living({row["worker"] for row in running} - {mine})
        claims = {Claim.of(row): row for row in running}
        strays = {claim for claim, row in claims.items() if row["worker"] == mine and not self._pool.may_have(claim)}
        dead = [(claim, row) for claim, row in claims.items() if row["worker"] not in {mine, *living}]
        seen_twice, self._strays = strays & self._strays, strays
        results = await asyncio.gather(
            *(self._endings.outlived(claim, row["setbacks"]) for claim, row in dead),
            *(self._rows.give_back(claim, {}) for claim in seen_twice),
            return_exceptions=True,
        )
        for fault in results:
            if isinstance(fault, BaseException):
                raise fault  # when all of them had their turn
