"""Opening the database: the client with its concerns and deadlines, the models, the secrets.

Indexes and whatever else a newer version needs of the data are made by `app.migrations`, which comes next.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pymongo
from beanie import Document, init_beanie
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    DuplicateKeyError,
    InvalidURI,
    PyMongoError,
)

from app.audit.model import AuditEntry
from app.auth.model import ApiKey
from app.auth.session_model import RefreshToken, Session
from app.auth.signing import SigningKey
from app.auth.throttle import LoginAttempts
from app.backups.marks import DEPLOYMENT, unfinished_restore
from app.config import Settings
from app.conversations.model import Conversation, Message
from app.conversations.share_model import Revocation, ShareLink
from app.exports.model import ExportJob, ExportSchedule
from app.imports.model import ImportJob
from app.jobs.model import FileChunk
from app.kit.clock import now
from app.kit.deadlines import PROBE_SECONDS, READ_SECONDS, WRITE_SECONDS
from app.kit.idempotency import IdempotencyRecord
from app.kit.logs import logger
from app.kit.monitoring import listeners
from app.kit.paging import Cursors
from app.kit.primary import Primary
from app.kit.probing import Probe
from app.kit.trace_export import exporting
from app.kit.transactions import Transactions
from app.limits.model import RateCount, Spending
from app.mongod import EmbeddedMongod, find_mongod
from app.privacy.model import Erasure, Hold, RetentionPolicy
from app.rooms.model import Presence
from app.search.model import SearchBlock, SearchIndex, SearchKeys, SearchRemoved, SearchSegment
from app.topology import Topology, probe
from app.turns.model import Turn, TurnEvents, Worker
from app.users.model import User
from app.webhooks.model import Delivery, Hook, RelayState, Webhook

T = TypeVar("T")

DOCUMENTS: list[type[Document]] = [
    AuditEntry,
    User,
    ApiKey,
    Session,
    RefreshToken,
    SigningKey,
    LoginAttempts,
    Conversation,
    Message,
    ShareLink,
    Revocation,
    RateCount,
    Spending,
    Turn,
    TurnEvents,
    Worker,
    Presence,
    IdempotencyRecord,
    SearchIndex,
    SearchSegment,
    SearchBlock,
    SearchKeys,
    SearchRemoved,
    Webhook,
    Delivery,
    RelayState,
    Hook,
    ExportJob,
    ExportSchedule,
    ImportJob,
    FileChunk,
    Hold,
    Erasure,
    RetentionPolicy,
]

CLIENT_OPTIONS: dict[str, Any] = {
    "appname": "verbatim",
    "tz_aware": True,
    "w": "majority",
    "retryWrites": True,
    "retryReads": True,
    "readPreference": "primary",
    # What only the primary has may be rolled back: nobody is shown it. No slower than "local" on a primary (measured).
    "readConcernLevel": "majority",
    # A hung primary is noticed by these two (26.8 s without them, 4.4 s with them, measured).
    "connectTimeoutMS": 2000,
    "heartbeatFrequencyMS": 1000,
    "serverSelectionTimeoutMS": 15_000,
    "maxPoolSize": 50,
    "waitQueueTimeoutMS": 10_000,
    # A mongod that shuts down in order refuses connections for about a second; two retries do not last that long.
    "maxAdaptiveRetries": 8,
}


class DatabaseUnavailable(Exception):
    """The database cannot be used; the message says what to do about it."""


@dataclass(frozen=True)
class Database:
    """An open database and what every service needs of it."""

    client: AsyncMongoClient[dict[str, Any]]
    name: str
    cursors: Cursors
    transactions: Transactions
    primary: Primary
    writable: Probe
    """Raises PyMongoError unless a primary answers and a majority has stored what it writes."""
    topology: Topology | None = None
    """What the server was at the start; None where it cannot be asked, as in tests without one."""


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """The database of `VERBATIM_MONGO_URI`, or the embedded one of the data folder.

    Raises DatabaseUnavailable and MongodUnavailable, each with one sentence.
    """
    async with connected(settings) as client:
        topology = await check_topology(client, settings.database)
        primary = Primary(patience=settings.failover_seconds)
        async with primary.watched(client):
            yield replace(await prepare(client, settings.database, primary), topology=topology)


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[AsyncMongoClient[dict[str, Any]]]:
    """A client of that server, of whatever kind it is and whatever is in its databases.

    Raises DatabaseUnavailable and MongodUnavailable, each with one sentence.
    """
    async with AsyncExitStack() as stack:
        if settings.mongo_uri is not None:
            uri = settings.mongo_uri.get_secret_value()
            login = _login(settings)
        else:
            mongod = await asyncio.to_thread(find_mongod, settings.mongod)
            uri, login = await stack.enter_async_context(EmbeddedMongod(settings.data, mongod)), {}
        # Before there is a client, which only then tells of its commands.
        await stack.enter_async_context(exporting(settings.otel_endpoint))
        client = _client(uri, {**login, "event_listeners": listeners(settings.slow_query_seconds)})
        stack.push_async_callback(client.close)
        yield client


async def prepare(client: AsyncMongoClient[dict[str, Any]], name: str, primary: Primary | None = None) -> Database:
    """Bind the documents to the database, and read its secret.

    `primary`: what watches the client's; without it there always is one.
    """
    database = client[name]
    if await unfinished_restore(database):
        raise DatabaseUnavailable(
            f"The database {name} is not whole: a restore runs, or was cut short. Run it again with the same file"
            " (verbatim restore), or drop the database to begin anew."
        )
    await retried(lambda: init_beanie(database=database, document_models=DOCUMENTS, skip_indexes=True))
    return Database(
        client,
        name,
        Cursors(await _secret(database)),
        Transactions(client),
        primary or Primary(patience=0),
        Probe(lambda: _write(database)),
    )


async def _write(database: AsyncDatabase[dict[str, Any]]) -> None:
    with pymongo.timeout(PROBE_SECONDS):
        await database["deployment"].update_one({"_id": "probe"}, {"$set": {"written_at": now()}}, upsert=True)


async def retried(work: Callable[[], Awaitable[T]]) -> T:
    """Do what may be done twice again when the primary dies over it; the driver does not, for indexes."""
    for pause in _PAUSES:
        try:
            return await work()
        except AutoReconnect as error:
            logger.warning("start_delayed", error=type(error).__name__)
            await asyncio.sleep(pause)
    return await work()


_PAUSES = (0.5, 1.0, 2.0, 4.0)


def _login(settings: Settings) -> dict[str, Any]:
    """The client's options for who logs in, unless the URI says it."""
    if settings.mongo_user is None:
        return {}
    password = settings.mongo_password
    return {"username": settings.mongo_user, "password": None if password is None else password.get_secret_value()}


def _client(uri: str, options: dict[str, Any]) -> AsyncMongoClient[dict[str, Any]]:
    try:
        return AsyncMongoClient(uri, **CLIENT_OPTIONS, **options)
    except (InvalidURI, ConfigurationError, ValueError) as error:
        raise DatabaseUnavailable(f"VERBATIM_MONGO_URI cannot be used: {error}") from error


async def check_topology(client: AsyncMongoClient[dict[str, Any]], name: str) -> Topology:
    """What the server is; raises DatabaseUnavailable when it cannot be reached, or nothing can be served from it."""
    try:
        topology = await probe(client, name)
    except PyMongoError as error:
        raise DatabaseUnavailable(
            f"MongoDB cannot be reached; check that it runs and VERBATIM_MONGO_URI. {error}"
        ) from error
    if topology.refusal is not None:
        raise DatabaseUnavailable(topology.refusal)
    for mode in topology.modes:
        logger.warning("database_falls_short", mode=mode.name, what=mode.sentence(topology))
    return topology


async def _secret(database: AsyncDatabase[dict[str, Any]]) -> bytes:
    """The deployment's secret, made by whichever process comes first."""
    collection = database[DEPLOYMENT]
    condition = {"_id": "secret"}
    with suppress(DuplicateKeyError), pymongo.timeout(WRITE_SECONDS):  # another process may have just made it
        await collection.update_one(condition, {"$setOnInsert": {"value": secrets.token_bytes(32)}}, upsert=True)
    with pymongo.timeout(READ_SECONDS):
        row = await collection.find_one(condition)
    if row is None:
        raise DatabaseUnavailable("The deployment's secret was removed while the server started; start it again.")
    return bytes(row["value"])
