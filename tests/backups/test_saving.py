"""Saving a database that others write to: everything is there, as of one instant."""

import asyncio
import random
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pymongo
import pytest
from bson import Binary, Decimal128, Int64, MinKey, ObjectId, Regex
from bson.timestamp import Timestamp
from pymongo import ASCENDING, IndexModel
from pymongo.collation import Collation

from app.backups.failures import BackupFailed
from app.backups.source import SnapshotGone, Source
from tests.backups.conftest import Database, contents, load, save

pytestmark = pytest.mark.mongod

IDS: list[Any] = [
    None,
    1,
    Int64(2),
    2.5,
    Decimal128("3.5"),
    float("inf"),
    "text",
    "中文",
    {"turn_id": ObjectId(), "seq": 1},
    {"turn_id": ObjectId(), "seq": 2},
    Binary(b"bytes"),
    Binary.from_uuid(UUID(int=7)),
    ObjectId(),
    True,
    datetime(2026, 1, 1, tzinfo=UTC),
    Timestamp(1, 2),
    MinKey(),
]


async def test_everything_comes_back_as_it_was(saved: Database, restored: Database) -> None:
    await saved["ids"].insert_many([{"_id": id, "value": Regex("a.b", "i")} for id in IDS])
    await saved["indexed"].create_indexes(
        [
            IndexModel("email", name="email_v1", unique=True, partialFilterExpression={"email": {"$type": "string"}}),
            IndexModel("at", name="expiry_v1", expireAfterSeconds=3600 * 24 * 365 * 50),
            IndexModel([("content", "text")], name="words", default_language="german", weights={"content": 3}),
            IndexModel([("name", ASCENDING)], name="name_ci", collation=Collation("en", strength=2)),
            IndexModel("hidden", hidden=True, sparse=True),
        ]
    )
    await saved["indexed"].insert_many(
        [{"email": f"{n}@x", "content": "Häuser", "at": datetime.now(UTC)} for n in "ab"]
    )
    await saved.create_collection("folded", collation=Collation("de", strength=1))
    await saved["folded"].insert_many([{"_id": each} for each in ("a", "B", "c")])
    rules: dict[str, Any] = {
        "validator": {"n": {"$type": "int"}},
        "validationLevel": "strict",
        "validationAction": "error",
    }
    await saved.create_collection("strict", **rules)
    await saved["strict"].insert_one({"n": "not a number"}, bypass_document_validation=True)
    await saved.create_collection("empty")
    await saved.create_collection("seen", viewOn="ids", pipeline=[{"$match": {"_id": 1}}])
    await saved["big"].insert_many([{"_id": n, "text": "x" * 9_000_000} for n in range(3)])

    file, made = await save(Source(saved.client, saved.name, has_snapshots=True, page_documents=2))
    await load(restored, file)

    assert await contents(restored) == await contents(saved)
    assert made.rounds == 0
    assert made.documents["ids"] == len(IDS)


async def test_a_transaction_is_in_it_whole_or_not_at_all(saved: Database, restored: Database) -> None:
    """Amounts move between two collections all the time; no restored database has lost or made any."""
    await saved["left"].insert_many([{"_id": n, "amount": 100} for n in range(30)])
    await saved["right"].insert_many([{"_id": n, "amount": 100} for n in range(30)])
    stop = asyncio.Event()

    async def move() -> None:
        rng = random.Random(1)
        while not stop.is_set():
            async with saved.client.start_session() as session, await session.start_transaction():
                for name, amount in (("left", -1), ("right", 1)):
                    row = {"_id": rng.randrange(30)}
                    await saved[name].update_one(row, {"$inc": {"amount": amount}}, session=session)

    mover = asyncio.create_task(move())
    try:
        for _ in range(3):
            file, made = await save(Source(saved.client, saved.name, has_snapshots=True, page_documents=3))
            await load(restored, file, drop=True)
            amounts = [row["amount"] for name in ("left", "right") for row in await restored[name].find().to_list()]
            assert sum(amounts) == 6000
            assert len(amounts) == 60
            assert made.instant is not None
    finally:
        stop.set()
        await mover


_WINDOW = "minSnapshotHistoryWindowInSeconds"


class Forgetful(Source):
    """A server that soon forgets: behind the first page, others write and the instant is over."""

    def __init__(self, database: Database, writes: Any) -> None:
        super().__init__(database.client, database.name, has_snapshots=True, page_documents=2)
        self._writes = writes
        self.forgotten = 0

    async def page(self, name: str, last: Any, instant: Timestamp | None) -> Any:
        if last is not None and (write := next(self._writes, None)):
            await write()
            await self._forget(name, instant)
        return await super().page(name, last, instant)

    async def _forget(self, name: str, instant: Timestamp | None) -> None:
        admin = self._database.client.admin
        before = (await admin.command({"getParameter": 1, _WINDOW: 1}))[_WINDOW]
        await admin.command({"setParameter": 1, _WINDOW: 0})
        try:
            async with asyncio.timeout(20):
                while await self._is_known(name, instant):
                    await self._database["noise"].insert_one({})  # time goes on with what is written
        finally:
            await admin.command({"setParameter": 1, _WINDOW: before})

    async def _is_known(self, name: str, instant: Timestamp | None) -> bool:
        try:
            await super().page(name, None, instant)
        except SnapshotGone:
            self.forgotten += 1
            return False
        return True


async def test_a_copy_that_outlives_its_snapshot_is_of_one_instant_all_the_same(
    saved: Database, restored: Database
) -> None:
    await saved["rows"].insert_many([{"_id": n, "n": 0} for n in range(0, 20, 2)])
    await saved["rows"].create_index("n", name="n_v1")

    async def first() -> None:
        await saved["rows"].update_one({"_id": 0}, {"$set": {"n": 1, "a.b": 1}})  # was copied
        await saved["rows"].delete_one({"_id": 2})
        await saved["rows"].insert_one({"_id": 1, "n": "came late"})
        await saved["rows"].update_one({"_id": 18}, {"$set": {"n": 2}})  # was not
        await saved["made"].insert_one({"_id": "in a new collection"})

    async def second() -> None:
        await saved["rows"].delete_one({"_id": 0})
        await saved["rows"].insert_one({"_id": 2, "n": "is back"})

    source = Forgetful(saved, iter([first, second]))
    file, made = await save(source)
    await load(restored, file)

    assert source.forgotten == 2
    assert made.rounds >= 1
    assert await contents(restored) == await contents(saved)
    assert made.documents["rows"] == 10


async def test_a_collection_that_is_dropped_meanwhile_ends_the_backup(saved: Database) -> None:
    await saved["rows"].insert_many([{"_id": n} for n in range(10)])
    await saved["other"].insert_one({})
    source = Forgetful(saved, iter([lambda: saved.drop_collection("other")]))

    with pytest.raises(BackupFailed, match="other was changed as a whole"):
        await save(source)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("timeseries", {"timeseries": {"timeField": "at"}}), ("capped", {"capped": True, "size": 4096})],
)
async def test_collections_of_unknown_kinds_are_refused(saved: Database, kind: str, options: dict[str, Any]) -> None:
    await saved.create_collection("measured", **options)

    with pytest.raises(BackupFailed, match=f"measured is of a kind.*{kind}"):
        await save(Source(saved.client, saved.name, has_snapshots=True))


async def test_a_database_that_is_being_restored_is_not_saved(saved: Database) -> None:
    await saved["deployment"].insert_one({"_id": "restore"})

    with pytest.raises(BackupFailed, match="finish the restore first"):
        await Source(saved.client, saved.name, has_snapshots=True).require_whole()


async def test_many_changes_are_taken_in_batches(saved: Database) -> None:
    source = Source(saved.client, saved.name, has_snapshots=True)
    since = await source.instant()
    await saved["rows"].insert_many([{"_id": n} for n in range(5000)])
    await saved["rows"].bulk_write([pymongo.DeleteOne({"_id": n}) for n in range(100)])
    until = await source.instant()
    await saved["rows"].insert_one({"_id": "later"})
    assert since is not None
    assert until is not None

    keys = [key async for batch in source.changed(since, until) for key in batch]

    assert {key for key in keys if key[0] == "rows"} == {("rows", n) for n in range(5000)}
