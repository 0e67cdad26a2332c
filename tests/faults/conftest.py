"""Databases and data folders for server processes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection

from app.database import CLIENT_OPTIONS
from app.mongod.folder import DataFolder, FileLock
from tests.faults.nursery import Nursery
from tests.mongod.processes import until
from tests.upstream import Upstream


@pytest.fixture(scope="module")
async def lasting_upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        yield server


@pytest.fixture
def upstream(lasting_upstream: Upstream) -> Upstream:
    """The upstream that the servers of this module know, as if it were new."""
    lasting_upstream.requests.clear()
    lasting_upstream.gate = asyncio.Semaphore(0)
    lasting_upstream.arrived = asyncio.Semaphore(0)
    return lasting_upstream


@pytest.fixture(scope="module")
async def shared(mongo_uri: str, lasting_upstream: Upstream) -> AsyncIterator[dict[str, Any]]:
    """Settings of servers that share one new database of the session's MongoDB, and know the upstream as `local`."""
    name = f"verbatim_{ObjectId()}"
    yield {
        "mongo_uri": mongo_uri,
        "database": name,
        "llm_providers": {"local": {"base_url": lasting_upstream.base_url}},
    }
    async with AsyncMongoClient[dict[str, Any]](mongo_uri, **CLIENT_OPTIONS) as client:
        await client.drop_database(name)


@pytest.fixture(scope="module")
async def nursery() -> AsyncIterator[Nursery]:
    async with Nursery() as ready:
        yield ready


@pytest.fixture
async def transcripts(shared: dict[str, Any]) -> AsyncIterator[AsyncCollection[dict[str, Any]]]:
    """The stored messages of the shared database, without any server in between."""
    async with AsyncMongoClient[dict[str, Any]](shared["mongo_uri"], **CLIENT_OPTIONS) as client:
        yield client[shared["database"]]["messages"]


@pytest.fixture
async def data(tmp_path: Path) -> AsyncIterator[Path]:
    """A data folder that must be quiet soon after its test: no mongod may be left behind."""
    folder = DataFolder(tmp_path / "data folder")
    yield folder.path
    if not folder.keeper_lock.exists():
        return
    keeper = FileLock(folder.keeper_lock)
    try:
        await until(lambda: not keeper.is_taken())
    finally:
        keeper.close()
