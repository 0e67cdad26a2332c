"""A database of its own for each test, which was never migrated."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from app.database import CLIENT_OPTIONS, Database, prepare
from tests.faults.nursery import Child, ForkedServer, Nursery
from tests.processes import ADMIN_KEY

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


@pytest.fixture(scope="module")
async def nursery() -> AsyncIterator[Nursery]:
    async with Nursery("tests.migrations.process") as ready:
        yield ready


@dataclass
class Command:
    """A command that runs."""

    child: Child
    errors: IO[bytes]

    async def ended(self, status: int = 0) -> str:
        """What it has printed, errors included, once it has ended with this status."""
        async with asyncio.timeout(90):
            printed, _ = await self.child.communicate()
        self.errors.seek(0)
        text = (printed + self.errors.read()).decode()
        assert self.child.returncode == status, text
        return text


@dataclass
class Commands:
    """Processes of the command line, and servers, on that database."""

    nursery: Nursery
    uri: str
    folder: Path
    _files: list[IO[bytes]] = field(default_factory=list)

    async def start(self, *arguments: str, level: int = 0, seconds: float = 0, **settings: str) -> Command:
        given = {"mongo_uri": self.uri, "database": NAME, "data": str(self.folder), "bootstrap_key": ADMIN_KEY}
        own = {f"VERBATIM_{name.upper()}": value for name, value in {**given, **settings}.items()}
        errors = tempfile.TemporaryFile()  # noqa: SIM115 closed at the end of the test
        self._files.append(errors)
        child = await self.nursery.fork(
            list(arguments), {**own, **_version(level, seconds)}, self.folder, errors.fileno()
        )
        return Command(child, errors)

    async def run(self, *arguments: str, status: int = 0, **options: Any) -> str:
        """Run it to its end; answers what it printed, errors included."""
        return await (await self.start(*arguments, **options)).ended(status)

    def server(self, name: str, *, level: int = 0, seconds: float = 0, **settings: Any) -> "Server":
        """A server that is started when its context is entered."""
        server = Server(
            self.nursery, self.folder / name, mongo_uri=self.uri, database=NAME, search_builder=False, **settings
        )
        server.version = _version(level, seconds)
        return server

    def close(self) -> None:
        for file in self._files:
            file.close()


class Server(ForkedServer):
    """A server of a version."""

    version: dict[str, str]

    async def _spawn(self) -> Child:
        settings = {name: value for name, value in self._environment().items() if name.startswith("VERBATIM_")}
        arguments = ["serve", "--data", str(self.data), *self._options]
        return await self._nursery.fork(arguments, {**settings, **self.version}, self.data, self._log.fileno())

    async def begin(self, port: int) -> Child:
        """Start the process on this port, and do not wait until it serves."""
        self.data.mkdir(parents=True)
        self._options = ("--port", str(port))
        self._process = child = await self._spawn()
        return child

    async def states(self) -> tuple[int, int]:
        """What liveness and readiness answer."""
        async with self.client() as client:
            return (await client.get("/health/live")).status_code, (await client.get("/health/ready")).status_code


def _version(level: int, seconds: float) -> dict[str, str]:
    return {"TEST_LEVEL": str(level), "TEST_SECONDS": str(seconds)}


@pytest.fixture
async def commands(nursery: Nursery, mongo_uri: str, tmp_path: Path, old: Database) -> AsyncIterator[Commands]:
    started = Commands(nursery, mongo_uri, tmp_path)
    yield started
    started.close()
