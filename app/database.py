"""Opening the database: the client with its concerns and deadlines, the models with their indexes, the secrets."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pymongo
from beanie import Document, init_beanie
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    DuplicateKeyError,
    InvalidURI,
    OperationFailure,
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
from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.kit.idempotency import IdempotencyRecord
from app.kit.logs import logger
from app.kit.monitoring import listeners
from app.kit.paging import Cursors
from app.kit.transactions import Transactions
from app.limits.model import RateCount, Spending
from app.mongod import EmbeddedMongod, find_mongod
from app.privacy.model import Erasure, Hold, RetentionPolicy
from app.rooms.model import Presence
from app.search.model import SearchBlock, SearchIndex, SearchKeys, SearchRemoved, SearchSegment
from app.turns.model import Turn, TurnEvents, Worker
from app.users.model import User
from app.webhooks.model import Delivery, Hook, RelayState, Webhook

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


_WIRE_VERSION_OF_MONGODB_6 = 17


class DatabaseUnavailable(Exception):
    """The database cannot be used; the message says what to do about it."""


@dataclass(frozen=True)
class Database:
    """An open database and what every service needs of it."""

    client: AsyncMongoClient[dict[str, Any]]
    name: str
    cursors: Cursors
    transactions: Transactions

    async def ping(self) -> None:
        """Raises PyMongoError unless a primary answers."""
        with pymongo.timeout(2):
            await self.client[self.name].command("ping")


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """The database of `VERBATIM_MONGO_URI`, or the embedded one of the data folder.

    Raises DatabaseUnavailable and MongodUnavailable, each with one sentence.
    """
    async with connected(settings) as client:
        await check_topology(client)
        yield await prepare(client, settings.database)


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
        client = _client(uri, {**login, "event_listeners": listeners(settings.slow_query_seconds)})
        stack.push_async_callback(client.close)
        yield client


async def prepare(client: AsyncMongoClient[dict[str, Any]], name: str) -> Database:
    """Bind the documents to the database, create what indexes are missing, and read its secret."""
    database = client[name]
    if await unfinished_restore(database):
        raise DatabaseUnavailable(
            f"The database {name} is not whole: a restore runs, or was cut short. Run it again with the same file"
            " (verbatim restore), or drop the database to begin anew."
        )
    try:
        await _retried(lambda: init_beanie(database=database, document_models=DOCUMENTS))
    except OperationFailure as error:
        sentence = _INDEX_FAULTS.get(error.code or 0)
        if sentence is None:
            raise
        raise DatabaseUnavailable(f"{sentence} MongoDB says: {error}") from error
    return Database(client, name, Cursors(await _secret(database)), Transactions(client))


async def _retried(work: Callable[[], Awaitable[None]]) -> None:
    """Do what may be done twice again when the primary dies over it; the driver does not, for indexes."""
    for pause in _PAUSES:
        try:
            await work()
        except AutoReconnect as error:
            logger.warning("start_delayed", error=type(error).__name__)
            await asyncio.sleep(pause)
        else:
            return
    await work()


_PAUSES = (0.5, 1.0, 2.0, 4.0)

_INDEX_FAULTS = {
    85: "An index exists under another name; drop it and start again.",
    86: "An index exists under the same name with other keys; drop it and start again.",
    11000: "A unique index cannot be built because there are duplicates; remove them and start again.",
}


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


async def check_topology(client: AsyncMongoClient[dict[str, Any]]) -> dict[str, Any]:
    """The server's hello; raises DatabaseUnavailable when it cannot be reached or has no transactions."""
    try:
        hello: dict[str, Any] = await client.admin.command("hello")
    except PyMongoError as error:
        raise DatabaseUnavailable(
            f"MongoDB cannot be reached; check that it runs and VERBATIM_MONGO_URI. {error}"
        ) from error
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise DatabaseUnavailable(
            "This MongoDB is a standalone server, but Verbatim needs a replica set (one member is enough): "
            "start mongod with --replSet rs0 and run once: mongosh --eval 'rs.initiate()'"
        )
    if hello["maxWireVersion"] < _WIRE_VERSION_OF_MONGODB_6:
        raise DatabaseUnavailable("This MongoDB is too old: Verbatim needs 6.0 or newer, for its partial indexes.")
    return hello


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
