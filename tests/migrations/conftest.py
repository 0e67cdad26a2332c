"""A database of its own for each test, which was never migrated."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from app.database import CLIENT_OPTIONS, Database, prepare
from tests.processes import ADMIN_KEY, ROOT

NAME = "verbatim_test_migrations"


@pytest.fixture
async def old(mongo_uri: str, database: Database) -> AsyncIterator[Database]:
    """A database without migrations; meanwhile the models are bound to it."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongo_uri, **CLIENT_OPTIONS)
    await client.drop_database(NAME)
    yield await prepare(client, NAME)
    await client.drop_database(NAME)
    await client.close()
    await prepare(database.client, database.name)


@pytest.fixture
def rows(old: Database) -> AsyncDatabase[dict[str, Any]]:
    """Its collections."""
    return old.client[NAME]


@dataclass(frozen=True)
class Commands:
    """Processes of the command line on that database."""

    uri: str
    folder: Path

    async def start(self, *arguments: str, level: int = 0, seconds: float = 0, **settings: str) -> Process:
        given = {"mongo_uri": self.uri, "database": NAME, "data": str(self.folder), "bootstrap_key": ADMIN_KEY}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("VERBATIM_")}
        own = {f"VERBATIM_{name.upper()}": value for name, value in {**given, **settings}.items()}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.migrations.process", str(level), str(seconds), *arguments),
            cwd=self.folder,
            env={**inherited, **own, "PYTHONPATH": str(ROOT)},
            stdout=PIPE,
            stderr=PIPE,
        )

    async def run(self, *arguments: str, status: int = 0, **options: Any) -> str:
        """Run it to its end; answers what it printed, errors included."""
        return await ended(await self.start(*arguments, **options), status)


async def ended(process: Process, status: int = 0) -> str:
    """What the process has printed, once it has ended with this status."""
    async with asyncio.timeout(90):
        printed = b"".join(await process.communicate()).decode()
    assert process.returncode == status, printed
    return printed


@pytest.fixture
def commands(mongo_uri: str, tmp_path: Path, old: Database) -> Commands:
    return Commands(mongo_uri, tmp_path)

