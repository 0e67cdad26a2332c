"""Databases to save and to restore, and files in memory."""

import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.asynchronous.database import AsyncDatabase

from app.backups.frames import BackupWriter
from app.backups.loading import Loading
from app.backups.saving import Saved, Saving
from app.backups.source import Source
from app.backups.target import Target
from app.database import CLIENT_OPTIONS, prepare
from app.database import Database as OpenDatabase

Database = AsyncDatabase[dict[str, Any]]
RAW: bson.CodecOptions[RawBSONDocument] = bson.CodecOptions(document_class=RawBSONDocument)


def ignore(_: Any) -> None:
    """Nobody watches."""


@pytest.fixture
async def client(mongo_uri: str) -> AsyncIterator[AsyncMongoClient[dict[str, Any]]]:
    async with AsyncMongoClient[dict[str, Any]](mongo_uri, **CLIENT_OPTIONS) as opened:
        yield opened


@pytest.fixture
async def saved(client: AsyncMongoClient[dict[str, Any]]) -> AsyncIterator[Database]:
    """An empty database to save."""
    await client.drop_database("verbatim_test_saved")
    yield client["verbatim_test_saved"]
    await client.drop_database("verbatim_test_saved")


@pytest.fixture
async def restored(client: AsyncMongoClient[dict[str, Any]], database: OpenDatabase) -> AsyncIterator[Database]:
    """An empty database to restore. Whoever makes sure that servers take it binds the models to it until the end."""
    await client.drop_database("verbatim_test_restored")
    yield client["verbatim_test_restored"]
    await client.drop_database("verbatim_test_restored")
    await prepare(database.client, database.name)


async def save(source: Source) -> tuple[bytes, Saved]:
    file = io.BytesIO()
    made = await Saving(source, BackupWriter(file), "0", ignore).save(ignore)
    return file.getvalue(), made


async def load(database: Database, file: bytes, *, drop: bool = False, report: Callable[[Any], None] = ignore) -> None:
    target = Target(database.client, database.name)
    await Loading(target, io.BytesIO(file), report, drop=drop).load(ignore)


def rows_of(database: Database, name: str) -> AsyncCursor[RawBSONDocument]:
    """All documents of a collection in the order of their ids."""
    rows = database[name].with_options(codec_options=RAW)
    return rows.find().sort("_id")


async def contents(database: Database, *, without: tuple[str, ...] = ("deployment",)) -> dict[str, Any]:
    """Everything in a database: options, indexes, and documents byte for byte."""
    found = {}
    async for each in await database.list_collections():
        name = each["name"]
        if name in without or name.startswith("system."):
            continue
        documents = [row.raw async for row in rows_of(database, name)]
        indexes = [] if each["type"] == "view" else [row async for row in await database[name].list_indexes()]
        by_name = sorted(indexes, key=lambda index: str(index["name"]))
        found[name] = (each["type"], each.get("options"), by_name, documents)
    return found
