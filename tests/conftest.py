"""What all tests share: one database for the session, emptied between tests, and clients with keys.

`--db=mongod` (default) starts the embedded mongod in a temporary folder; `--db=mock` uses mongomock-motor and leaves
out the tests marked `mongod`.
"""

import asyncio
import io
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
import uvicorn
from argon2 import PasswordHasher
from blockbuster import BlockBuster, blockbuster_ctx
from bson import ObjectId
from fastapi import FastAPI
from pymongo import AsyncMongoClient

from app.api.http_protocol import HttpProtocol
from app.api.socket_protocol import SERVER_OPTIONS
from app.auth.permissions import WHOLES
from app.auth.schemas import KeyCreate
from app.config import Settings
from app.database import CLIENT_OPTIONS, DOCUMENTS, Database, check_topology, prepare
from app.kit import security
from app.kit.logs import configure_logs, logger
from app.kit.streaming import Drain
from app.main import build_app, serve_with
from app.migrations.runner import Migrations
from app.mongod import EmbeddedMongod, find_mongod
from app.services import Services, build_services
from app.users.model import Role
from app.users.schemas import UserCreate
from tests.mock_database import MockClient, mock_migrations

DATABASE = "verbatim_test"

structlog.configure(  # plain tracebacks: the default ones show every local variable, which takes seconds
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--db", choices=["mongod", "mock"], default="mongod", help="real mongod, or mongomock-motor")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--db") == "mock":
        needs_mongod = pytest.mark.skip(reason="needs a real mongod")
        for item in items:
            if "mongod" in item.keywords:
                item.add_marker(needs_mongod)


@pytest.fixture(scope="session")
async def mongo_uri(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A real replica set of one, or the one of VERBATIM_TEST_MONGO_URI; nothing for the portable tier."""
    given = os.environ.get("VERBATIM_TEST_MONGO_URI", "")
    if given or request.config.getoption("--db") == "mock":
        yield given
        return
    async with EmbeddedMongod(tmp_path_factory.mktemp("mongod"), find_mongod(None)) as uri:
        async with AsyncMongoClient[Any](uri) as client:  # all tests write to its log, which `doctor` would find short
            await client.admin.command("replSetResizeOplog", size=16_000.0)
        yield uri


@pytest.fixture(scope="session")
async def database(request: pytest.FixtureRequest, mongo_uri: str) -> AsyncIterator[Database]:
    """The session's database, with its models bound and indexed."""
    client: Any
    if request.config.getoption("--db") == "mock":
        client = MockClient(tz_aware=True)
        mocked = await prepare(client, DATABASE)
        await mock_migrations(mocked)
        yield mocked
        return
    # The loop stands still while tests run that are not asynchronous, for minutes at a time, and with it the heartbeats
    # by which a hung server is noticed: the next test's writes would be broken off.
    client = AsyncMongoClient(mongo_uri, **CLIENT_OPTIONS | {"connectTimeoutMS": 600_000})
    await client.drop_database(DATABASE)
    database = replace(await prepare(client, DATABASE), topology=await check_topology(client, DATABASE))
    await Migrations(database).finish("expand", "migrate", "contract")
    yield database
    await client.close()


@pytest.fixture
async def empty_database(database: Database) -> Database:
    """The database without a row of anybody."""
    for document in DOCUMENTS:
        await document.get_pymongo_collection().delete_many({})
    return database


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of no environment; a test module may override this fixture.

    Nobody builds the index of messages, or migrates, unless a test does: it would be there by chance.
    """
    return Settings(
        _env_file=None,
        data=tmp_path,
        database=DATABASE,
        drain_timeout=2,
        search_builder=False,
        webhook_delivery=False,
        migrate=False,
    )


@pytest.fixture
async def services(settings: Settings, empty_database: Database) -> AsyncIterator[Services]:
    built = build_services(settings, empty_database)
    yield built
    await built.aclose()


@pytest.fixture
async def app(settings: Settings, services: Services) -> FastAPI:
    app = build_app(settings)
    serve_with(app, services, Drain())
    return app


@pytest.fixture
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that are hashed in microseconds, for tests that are not about that."""
    monkeypatch.setattr(security, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    monkeypatch.setattr(security, "_NOBODYS_HASH", security._nobodys_hash())


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged, as JSON lines."""
    root = logging.getLogger()
    handlers, level, config = root.handlers, root.level, structlog.get_config()
    configure_logs("info", "json")
    written = io.StringIO()
    handler = root.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written)
    yield written
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**config)
    vars(logger).pop("bind", None)  # it has kept what was configured here


@pytest.fixture
def blocking_is_an_error() -> Iterator[BlockBuster]:
    """Blocking calls in the event loop fail the test that asked for this."""
    with blockbuster_ctx("app") as guard:
        yield guard


@dataclass(frozen=True)
class Person:
    """A user with a key."""

    id: ObjectId
    email: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


async def make_person(services: Services, name: str, role: Role = "user") -> Person:
    row = await services.users.create(UserCreate(email=f"{name}@example.com", name=name.capitalize(), role=role))
    _, key = await services.keys.create(row["_id"], KeyCreate(name="test", scopes=list(WHOLES)))
    return Person(row["_id"], row["email"], key)


@pytest.fixture
async def admin(services: Services) -> Person:
    return await make_person(services, "admin", "admin")


@pytest.fixture
async def analyst(services: Services) -> Person:
    return await make_person(services, "analyst", "analyst")


@pytest.fixture
async def ana(services: Services) -> Person:
    return await make_person(services, "ana")


@pytest.fixture
async def ben(services: Services) -> Person:
    return await make_person(services, "ben")


def client_of(app: FastAPI, person: Person | None = None) -> httpx.AsyncClient:
    """A client of the app in this process; bodies come whole, so streams are tested with `live`."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test", headers=person.headers if person else {}
    )


@pytest.fixture
async def anonymous(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client


@pytest.fixture
async def as_admin(app: FastAPI, admin: Person) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app, admin) as client:
        yield client


@pytest.fixture
async def as_analyst(app: FastAPI, analyst: Person) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app, analyst) as client:
        yield client


@pytest.fixture
async def as_ana(app: FastAPI, ana: Person) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app, ana) as client:
        yield client


@pytest.fixture
async def as_ben(app: FastAPI, ben: Person) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app, ben) as client:
        yield client


@pytest.fixture
async def live_url(app: FastAPI) -> AsyncIterator[str]:
    """The app behind a real uvicorn on a free port of loopback, in this event loop."""
    config = uvicorn.Config(
        app,
        port=0,
        lifespan="off",
        log_config=None,
        http=HttpProtocol,
        timeout_graceful_shutdown=2,
        **SERVER_OPTIONS,
    )
    server = uvicorn.Server(config)
    started = asyncio.Event()

    async def startup(sockets: Any = None) -> None:
        await uvicorn.Server.startup(server, sockets)
        started.set()

    server.startup = startup  # type: ignore[method-assign]
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(server.serve())
    await started.wait()
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    app.state.drain.start()
    server.should_exit = True
    await task


@pytest.fixture
async def live_ana(live_url: str, ana: Person) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=live_url, headers=ana.headers, timeout=30) as client:
        yield client
