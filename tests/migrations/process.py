"""What makes a process one whose migrations are slow, or one of an older version; a prelude of the nursery.

`TEST_LEVEL`: the last migration that it knows, 0 for all of them; `TEST_SECONDS`: its rest after each step. Batches are
small, so that there are many, and leases are short.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from app.database import Database
from app.migrations import backfill, registry, runner
from app.migrations.model import Migration, Step

BATCH = 500
LEASE_SECONDS = 2.0


def prepare() -> None:
    level, seconds = int(os.environ.get("TEST_LEVEL", "0")), float(os.environ.get("TEST_SECONDS", "0"))
    backfill.BATCH = BATCH
    runner.LEASE_SECONDS = LEASE_SECONDS
    known = [each for each in registry.MIGRATIONS if level == 0 or each.number <= level]
    registry.MIGRATIONS = [_slowly(each, seconds) for each in known] if seconds else known


def _slowly(migration: Migration, seconds: float) -> Migration:
    work: Callable[[Database, Any], AsyncGenerator[Step, None]] = migration.work

    async def rested(database: Database, place: Any) -> AsyncGenerator[Step, None]:
        async with aclosing(work(database, place)) as steps:
            async for step in steps:
                yield step
                await asyncio.sleep(seconds)

    return replace(migration, work=rested)
