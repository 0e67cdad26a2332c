"""What the kit's tests share: an empty collection of samples."""

from collections.abc import AsyncIterator

import pytest

from app.database import Database
from tests.kit.samples import SampleRepository


@pytest.fixture
async def samples(database: Database) -> AsyncIterator[SampleRepository]:
    collection = database.client[database.name]["samples"]
    await collection.delete_many({})
    yield SampleRepository(database.cursors, collection)
    await collection.delete_many({})
