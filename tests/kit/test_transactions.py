"""What happens in a transaction happens whole or not at all; edits that meet lose nothing."""

import asyncio
from typing import Any

import pytest
from pydantic import Field
from pymongo.errors import DuplicateKeyError

from app.database import Database
from app.kit.editing import edited
from app.kit.errors import PreconditionFailed
from app.kit.etag import Versions
from app.kit.repository import EVERYTHING, Row
from app.kit.schemas import Input
from app.kit.transactions import beside, current_session, in_order
from tests.kit.samples import SampleRepository, sample

pytestmark = pytest.mark.mongod


class SampleUpdate(Input):
    title: str = ""
    extra: dict[str, int] = Field(default_factory=dict)


async def store(samples: SampleRepository, row: Row) -> Row:
    await samples.collection.insert_one(row, session=current_session())
    return row


async def test_an_abort_undoes_everything(database: Database, samples: SampleRepository) -> None:
    before = await store(samples, sample(1))

    async def work() -> None:
        await store(samples, sample(2))
        await samples.update(EVERYTHING, before["_id"], {"$set": {"title": "changed"}})
        raise LookupError

    with pytest.raises(LookupError):
        await database.transactions.run(work)

    assert [row["title"] for row in await samples.collection.find().to_list()] == ["t1"]
    assert current_session() is None


async def test_what_is_written_inside_is_seen_inside_and_not_outside(
    database: Database, samples: SampleRepository
) -> None:
    async def work() -> None:
        row = await store(samples, sample(1))
        assert (await samples.get(EVERYTHING, row["_id"]))["title"] == "t1"
        assert await samples.collection.find_one({"_id": row["_id"]}) is None

    await database.transactions.run(work)

    assert await samples.collection.count_documents({}) == 1


async def test_a_transaction_inside_another_joins_it(database: Database, samples: SampleRepository) -> None:
    async def inner() -> Any:
        await store(samples, sample(1))
        return current_session()

    async def outer() -> None:
        assert await database.transactions.run(inner) is current_session()
        raise LookupError

    with pytest.raises(LookupError):
        await database.transactions.run(outer)

    assert await samples.collection.count_documents({}) == 0


async def test_a_duplicate_key_leaves_at_once_and_stores_nothing(database: Database, samples: SampleRepository) -> None:
    taken = await store(samples, sample(1))
    attempts = 0

    async def work() -> None:
        nonlocal attempts
        attempts += 1
        await store(samples, sample(2))
        await store(samples, dict(taken))

    with pytest.raises(DuplicateKeyError):
        await database.transactions.run(work)

    assert attempts == 1
    assert await samples.collection.count_documents({}) == 1


async def test_transactions_that_meet_are_all_done(database: Database, samples: SampleRepository) -> None:
    row = await store(samples, sample(1, rank=0))

    async def work() -> None:
        current = await samples.get(EVERYTHING, row["_id"])
        await samples.update(EVERYTHING, row["_id"], {"$set": {"rank": current["rank"] + 1}})

    await asyncio.gather(*(database.transactions.run(work) for _ in range(10)))

    assert (await samples.get(EVERYTHING, row["_id"]))["rank"] == 10


async def patch(samples: SampleRepository, row: Row, change: dict[str, Any], versions: Versions = None) -> Row:
    return await edited(
        lambda: samples.get(EVERYTHING, row["_id"]),
        change,
        SampleUpdate,
        lambda update, seen: samples.update(EVERYTHING, row["_id"], {"$set": update.model_dump()}, versions=seen),
        versions,
    )


async def test_concurrent_patches_of_different_members_lose_nothing(samples: SampleRepository) -> None:
    row = await store(samples, sample(1))

    await asyncio.gather(*(patch(samples, row, {"extra": {f"k{number}": number}}) for number in range(8)))

    after = await samples.get(EVERYTHING, row["_id"])
    assert after["extra"] == {f"k{number}": number for number in range(8)}
    assert after["version"] == 9


async def test_a_patch_of_a_named_version_is_not_done_over_another(samples: SampleRepository) -> None:
    row = await store(samples, sample(1))
    await patch(samples, row, {"title": "first"}, frozenset({1}))

    with pytest.raises(PreconditionFailed) as caught:
        await patch(samples, row, {"title": "second"}, frozenset({1}))

    assert caught.value.headers["ETag"] == '"2"'
    assert caught.value.members["current"]["title"] == "first"


async def test_what_is_read_beside_is_no_older_than_what_was_read_before(
    database: Database, samples: SampleRepository
) -> None:
    """In a session of its own: one session serves one operation after the other."""
    async with in_order(database.client):
        first = current_session()
        await store(samples, sample(1))
        assert first is not None
        written = first.operation_time
        async with beside(database.client):
            second = current_session()
            assert second is not None
            assert second is not first
            assert (second.operation_time, second.cluster_time) == (written, first.cluster_time)
            assert await samples.collection.count_documents({}, session=second) == 1
        assert current_session() is first


async def test_beside_nothing_it_is_a_session_like_another(database: Database) -> None:
    async with beside(database.client):
        assert current_session() is not None
    assert current_session() is None
