"""Old rows become as today's are; whatever cuts that short, the next one goes on; one process does it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from bson import ObjectId
from pymongo.asynchronous.database import AsyncDatabase

from app.config import Settings
from app.database import DOCUMENTS, Database, DatabaseUnavailable
from app.kit.errors import Unavailable
from app.kit.windows import FIELD
from app.migrations import backfill
from app.migrations.indexes import RETIRED, declared, drift
from app.migrations.model import Migration, Progress, Step
from app.migrations.registry import MIGRATIONS, level_of
from app.migrations.runner import Migrations
from app.migrations.starting import server_start
from app.migrations.steps import LATER_FIELDS
from app.turns.workers import WorkerRepository
from tests.migrations import shapes

pytestmark = pytest.mark.mongod

Rows = AsyncDatabase[dict[str, Any]]
LEVEL = level_of(MIGRATIONS)
CONTRACTED = max(each.number for each in MIGRATIONS if each.phase == "contract")
BESIDE_SERVERS = [each.number for each in MIGRATIONS if each.phase != "contract"]


async def test_a_new_database_has_nothing_but_indexes_to_get(old: Database, rows: Rows) -> None:
    migrations = Migrations(old)
    await migrations.finish("expand")

    assert await migrations.pending("expand", "migrate", "contract") == []
    assert await drift(DOCUMENTS) == []
    ran = {row["_id"] for row in await rows["migrations"].find({"runs": {"$gt": 0}}).to_list()}
    assert ran == {1}
    await migrations.assure()


async def test_rows_of_the_first_version_get_what_they_lack(
    old: Database, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "BATCH", 7)
    await shapes.store(rows, turns=30, messages=30, users=30)
    await rows["turns"].insert_one(
        {**shapes.turn(31), "finished_at": None, "first_token_at": None, "served_model": "x"}
    )

    await Migrations(old).finish("expand", "migrate")

    for name, fields in LATER_FIELDS.items():
        for field in fields:
            assert await rows[name].count_documents({field: {"$exists": False}}) == 0, (name, field)
    assert await rows["users"].count_documents({FIELD: None}) == 0
    completed = await rows["turns"].find_one({"state": "completed"}) or {}
    assert (completed["first_token_ms"], completed["total_ms"]) == (250, 1500)
    assert (completed["served_model"], completed["failed_attempts"], completed["version"]) == ("echo", 0, 2)
    assert await rows["turns"].count_documents({"state": "failed", "served_model": None}) == 3
    endless = await rows["turns"].find_one({"finished_at": None}) or {}
    assert (endless["total_ms"], endless["first_token_ms"], endless["served_model"]) == (None, None, "x")


async def test_a_field_that_a_row_has_stays_as_it_is(old: Database, rows: Rows) -> None:
    reader = ObjectId()
    kept = {"owner_id": shapes.OWNER, "title": "Shared", "readers": [reader], "created_at": shapes.BEGAN}
    await rows["conversations"].insert_one(dict(kept))

    await Migrations(old).finish("expand", "migrate")

    row = await rows["conversations"].find_one() or {}
    assert row.items() >= kept.items()
    assert (row["writers"], row["parent"]) == ([], None)
    assert "transition" not in row, "webhooks would tell of a change that nobody has made"


async def test_an_index_that_lets_no_event_be_stored_is_dropped_first(old: Database, rows: Rows) -> None:
    await rows["turn_events"].create_index([("turn_id", 1), ("seq", 1)], name="seq_v1", unique=True)
    await Migrations(old).finish("expand")

    for seq in (2, 3):
        await rows["turn_events"].insert_one({"_id": {"turn_id": ObjectId(), "seq": seq}})


async def test_of_four_that_start_at_once_one_migrates_and_the_others_wait(old: Database, rows: Rows) -> None:
    await shapes.store(rows, turns=2000, users=200)
    starting = [Migrations(old) for _ in range(4)]

    worked = await asyncio.gather(*(_ours(each.run("expand", "migrate")) for each in starting))

    assert sorted(number for each in worked for number in each) == BESIDE_SERVERS
    assert {row["_id"]: row["runs"] for row in await rows["migrations"].find().to_list()} == dict.fromkeys(
        BESIDE_SERVERS, 1
    )
    assert [await each.pending("expand", "migrate") for each in starting] == [[]] * 4


async def _ours(steps: AsyncGenerator[Progress, None]) -> set[int]:
    return {progress.migration.number async for progress in steps if progress.is_ours}


async def test_cut_short_it_goes_on_where_it_was(old: Database, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "BATCH", 10)
    await shapes.store(rows, turns=100)
    first = Migrations(old)
    await first.finish("expand")
    async with aclosing(first.run("migrate")) as steps:
        async for progress in steps:
            if progress.step.what == "turns" and progress.step.done == 50:
                break
    assert await rows["turns"].count_documents({"total_ms": 1500}) == 50
    assert (await rows["migrations"].find_one({"_id": 4}) or {})["state"] == "running"
    seen = [progress.step.done async for progress in Migrations(old).run("migrate") if progress.step.what == "turns"]

    assert seen[0] == 50
    assert await rows["turns"].count_documents({"total_ms": 1500}) == 100
    row = await rows["migrations"].find_one({"_id": 4}) or {}
    assert (row["state"], row["runs"], row.get("place"), row.get("holder")) == ("done", 2, None, None)


async def test_who_was_silent_for_longer_than_a_lease_is_told_to_stop(old: Database, rows: Rows) -> None:
    await rows["users"].insert_one(shapes.user(1))
    reached, go_on = asyncio.Event(), asyncio.Event()
    finished: list[str] = []

    def counting(name: str, silent: bool) -> list[Migration]:
        async def work(_: Database, __: Any) -> AsyncGenerator[Step, None]:
            yield Step(1, 2)
            if silent:
                reached.set()
                await go_on.wait()
            yield Step(2, 2)
            finished.append(name)

        return [Migration(1, "counted", "expand", "", work)]

    silent = Migrations(old, counting("silent", True), lease_seconds=0.2)
    silent._lease_seconds = 3600  # it renews nothing
    hung = asyncio.create_task(silent.finish("expand"))
    await reached.wait()
    await Migrations(old, counting("heir", False), lease_seconds=0.2).finish("expand")
    go_on.set()
    await hung

    assert finished == ["heir"]
    assert (await rows["migrations"].find_one({"_id": 1}) or {})["runs"] == 2


async def test_duplicates_are_named_with_what_to_do_and_the_next_one_succeeds(old: Database, rows: Rows) -> None:
    await rows["users"].insert_many([{**shapes.user(1), "name": str(number)} for number in range(3)])
    await rows["api_keys"].insert_many([{"hash": "secret", "user_id": 1} for _ in range(2)])
    migrations = Migrations(old)

    with pytest.raises(DatabaseUnavailable) as refused:
        await migrations.finish("expand")

    sentence = str(refused.value)
    assert "email_v1 of users" in sentence
    assert "email '1@example.com' (3 rows, _id: " in sentence
    assert "then run: verbatim migrate" in sentence
    row = await rows["migrations"].find_one({"_id": 1}) or {}
    assert (row["state"], "1@example.com" in row["error"]) == ("failed", False), "it is not kept whose they are"
    with pytest.raises(Unavailable, match="being migrated"):
        await migrations.assure()

    await rows["users"].delete_many({"name": {"$in": ["1", "2"]}})
    with pytest.raises(DatabaseUnavailable, match="a secret's hash"):
        await Migrations(old).finish("expand")
    await rows["api_keys"].delete_one({})
    await Migrations(old).finish("expand")
    assert "error" not in (await rows["migrations"].find_one({"_id": 1}) or {})


async def test_a_lost_index_is_built_again_at_the_next_start(old: Database, rows: Rows) -> None:
    await Migrations(old).finish("expand")
    await rows["users"].drop_index("email_v1")
    assert [each.number for each in await Migrations(old).pending("expand")] == [1]

    await Migrations(old).finish("expand")

    assert "email_v1" in await rows["users"].index_information()


async def test_indexes_are_made_what_they_should_be_and_others_are_left_alone(old: Database, rows: Rows) -> None:
    migrations = Migrations(old)
    await migrations.finish("expand")
    await rows["users"].drop_index("email_v1")
    await rows["users"].create_index("email", name="email_v1")
    await rows["messages"].drop_index("turn_id_v1")
    await rows["turns"].drop_index("running_v2")
    await rows["turns"].create_index("worker", name="by_hand", partialFilterExpression={"state": "running"})
    await rows["turns"].create_index([("conversation_id", 1), ("made", 1)], name="conversation_v1")
    await rows["turns"].create_index("made", name="mine")
    kinds = sorted((str(each), each.kind) for each in await drift(DOCUMENTS))
    assert kinds == [
        ("messages.turn_id_v1", "missing"),
        ("turns.conversation_v1", "retired"),
        ("turns.running_v2", "missing"),
        ("users.email_v1", "changed"),
    ]
    with pytest.raises(DatabaseUnavailable, match=r"made by hand .*running_v2.*--rebuild-indexes"):
        await migrations.finish("expand")

    async for _ in migrations.rebuild_indexes():
        pass

    assert await drift(DOCUMENTS) == []
    assert (await rows["users"].index_information())["email_v1"]["unique"]
    assert {"mine", "running_v2"} <= (await rows["turns"].index_information()).keys()
    assert "by_hand" not in await rows["turns"].index_information()
    assert await migrations.pending("expand", "migrate", "contract") == []


async def test_indexes_of_older_versions_stay_while_one_of_them_runs(old: Database, rows: Rows) -> None:
    await Migrations(old).finish("expand")
    await rows["turns"].create_index([("conversation_id", 1), ("made", 1)], name="conversation_v1")
    await WorkerRepository(lease_seconds=60).register("older")

    async for _ in Migrations(old).rebuild_indexes():
        pass

    assert "conversation_v1" in await rows["turns"].index_information()


async def test_older_versions_are_shut_out_once_none_of_them_runs(old: Database, rows: Rows) -> None:
    await shapes.store(rows, turns=5)
    await rows["turns"].create_index([("conversation_id", 1), ("made", 1)], name="conversation_v1")
    older, newer = Migrations(old, MIGRATIONS[:4]), Migrations(old)
    await older.finish("expand", "migrate")
    await older.check()
    workers = WorkerRepository(lease_seconds=60, level=older.level)
    await workers.register("older")
    await rows["turns"].insert_one(shapes.turn(6))  # of the old shape, behind the migration

    with pytest.raises(DatabaseUnavailable, match="1 server of an older version still run"):
        await _ours(newer.contract())
    await older.check()
    await workers.remove("older")
    await _ours(newer.contract())

    assert await rows["turns"].count_documents({"total_ms": 1500}) == 6
    assert "conversation_v1" not in await rows["turns"].index_information()
    refusal = rf"newer \(level {CONTRACTED}\).*knows levels up to 4.*restore a backup"
    with pytest.raises(DatabaseUnavailable, match=refusal):
        await older.check()
    with pytest.raises(DatabaseUnavailable, match=f"level {CONTRACTED}"):
        await older.finish("expand")
    with pytest.raises(Unavailable, match="has to be replaced"):
        await older.assure()
    await newer.check()
    await newer.assure()


async def test_an_older_version_does_not_lower_the_level(old: Database, rows: Rows) -> None:
    await rows["migrations"].insert_one({"_id": "schema", "contract": 9, "version": "9.0"})
    await Migrations(old)._ledger.contract(LEVEL)

    assert await Migrations(old)._ledger.contracted() == (9, "9.0")


def test_the_registry_is_in_order_and_names_are_never_used_again() -> None:
    numbers = [each.number for each in MIGRATIONS]

    assert numbers == list(range(1, len(MIGRATIONS) + 1))
    assert level_of(MIGRATIONS) == numbers[-1]
    assert len({each.name for each in MIGRATIONS}) == len(MIGRATIONS)


def test_no_index_that_is_declared_is_retired(old: Database) -> None:
    for document in DOCUMENTS:
        names = {model.document["name"] for model in declared(document)}
        assert not names & RETIRED.get(document.get_collection_name(), frozenset())


async def test_indexes_of_settings_are_settled_by_whoever_starts_first(old: Database, rows: Rows) -> None:
    await Migrations(old).finish("expand")
    settings = Settings(_env_file=None, audit_days=30, text_search=True, text_language="none")
    starting = [Migrations(old) for _ in range(3)]

    await asyncio.gather(*(server_start(each, settings) for each in starting))

    assert (await rows["audit"].index_information())["expiry_v1"]["expireAfterSeconds"] == 30 * 24 * 3600
    assert "text_none_v1" in await rows["messages"].index_information()
    assert (await rows["migrations"].find_one({"_id": 0}) or {})["runs"] == 1
    await server_start(Migrations(old), settings.model_copy(update={"text_search": False}))
    assert "text_none_v1" not in await rows["messages"].index_information()
