"""A process of the command line whose migrations are slow, or which is of an older version.

`python -m tests.migrations.process LEVEL SECONDS ARGUMENTS...`: `verbatim ARGUMENTS` of a version that knows migrations
up to LEVEL (0: all) and rests for SECONDS after each batch of rows. Batches are small, so that there are many.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from app.database import Database
from app.migrations import backfill, registry, runner
from app.migrations.model import Migration, Step

BATCH = 500
LEASE_SECONDS = 2.0


def _slowly(migration: Migration, seconds: float) -> Migration:
    work: Callable[[Database, Any], AsyncGenerator[Step, None]] = migration.work

    async def rested(database: Database, place: Any) -> AsyncGenerator[Step, None]:
        async with aclosing(work(database, place)) as steps:
            async for step in steps:
                yield step
                await asyncio.sleep(seconds)

    return replace(migration, work=rested)


def main(level: int, seconds: float, arguments: list[str]) -> None:
    backfill.BATCH = BATCH
    runner.LEASE_SECONDS = LEASE_SECONDS
    known = [each for each in registry.MIGRATIONS if level == 0 or each.number <= level]
    runner.MIGRATIONS = [_slowly(each, seconds) for each in known] if seconds else known
    sys.argv = ["verbatim", *arguments]

    from app.cli import main as verbatim

    verbatim()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
