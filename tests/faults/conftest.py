"""Databases and data folders for server processes."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient

from app.database import CLIENT_OPTIONS
from app.mongod.folder import DataFolder, FileLock
from tests.mongod.processes import until
from tests.upstream import Upstream


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        yield server


@pytest.fixture
async def shared(mongo_uri: str, upstream: Upstream) -> AsyncIterator[dict[str, Any]]:
    """Settings of servers that share one new database of the session's MongoDB, and know the upstream as `local`."""
    name = f"verbatim_{ObjectId()}"
    yield {
        "mongo_uri": mongo_uri,
        "database": name,
        "llm_providers": {"local": {"base_url": upstream.base_url}},
    }
    async with AsyncMongoClient[dict[str, Any]](mongo_uri, **CLIENT_OPTIONS) as client:
        await client.drop_database(name)


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
