"""Restoring: all of it, or nothing that a server would take for a database."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from app.audit.model import AuditEntry
from app.backups.failures import BackupFailed, DamagedBackup
from app.backups.fates import CHANGED, LEFT_OUT
from app.backups.source import Source
from app.backups.target import Target
from app.database import DOCUMENTS, DatabaseUnavailable, prepare
from app.webhooks.relay import _PLACE_IS_LOST
from tests.backups.conftest import Database, contents, load, save

pytestmark = pytest.mark.mongod


@pytest.fixture
async def file(saved: Database) -> bytes:
    """A backup of two collections."""
    await saved["rows"].insert_many([{"_id": n} for n in range(1000)])
    await saved["rows"].create_index("n", name="n_v1")
    await saved["others"].insert_one({"_id": 1})
    await saved["deployment"].insert_one({"_id": "secret", "value": b"s"})
    made, _ = await save(Source(saved.client, saved.name, has_snapshots=True, page_documents=100))
    return made


async def test_what_is_there_is_replaced_only_when_that_is_wanted(
    file: bytes, saved: Database, restored: Database
) -> None:
    await restored["precious"].insert_one({"_id": 1})
    await restored["rows"].insert_one({"_id": "other"})
    await restored.create_collection("view", viewOn="rows", pipeline=[])
    before = await contents(restored)

    with pytest.raises(BackupFailed, match=r"not empty \(precious, rows, view\).*--drop"):
        await load(restored, file)
    assert await contents(restored) == before

    await load(restored, file, drop=True)
    assert await contents(restored, without=()) == await contents(saved, without=())


async def test_a_file_that_was_cut_off_leaves_what_was_there(file: bytes, restored: Database) -> None:
    await restored["precious"].insert_one({"_id": 1})

    with pytest.raises(DamagedBackup, match="cut off"):
        await load(restored, file[:-40], drop=True)

    assert (await contents(restored))["precious"][3]
    assert not await restored["rows"].find_one()
    await prepare(restored.client, restored.name)  # servers go on with it


async def test_a_restore_that_was_cut_short_is_no_database_until_it_is_done_again(
    file: bytes, saved: Database, restored: Database
) -> None:
    def fail(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await load(restored, file, report=fail)
    with pytest.raises(DatabaseUnavailable, match="is not whole"):
        await prepare(restored.client, restored.name)

    await load(restored, file)
    assert await contents(restored, without=()) == await contents(saved, without=())


async def test_one_that_was_cut_short_at_its_end_goes_on_there(
    file: bytes, saved: Database, restored: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await restored["precious"].insert_one({"_id": 1})
    other, _ = await save(Source(saved.client, saved.name, has_snapshots=True))
    rename = Target._rename

    async def failing(self: Target, name: str, new: str) -> None:
        await rename(self, name, new)
        raise OperationFailure("cut short")

    for _ in range(2):  # each time one collection more is in its place
        with monkeypatch.context() as patch:
            patch.setattr(Target, "_rename", failing)
            with pytest.raises(OperationFailure):
                await load(restored, file, drop=True)
        with pytest.raises(DatabaseUnavailable, match="is not whole"):
            await prepare(restored.client, restored.name)
        with pytest.raises(BackupFailed, match="finish it with that file first"):
            await load(restored, other, drop=True)

    await load(restored, file)
    assert await contents(restored) == await contents(saved)
    assert await restored["deployment"].distinct("_id") == ["backup", "secret"]


async def test_a_database_that_servers_use_is_left_alone(file: bytes, restored: Database) -> None:
    worker = {"_id": "w", "is_dead": False, "expires_at": datetime.now(UTC) + timedelta(seconds=60)}
    await restored["workers"].insert_one(worker)

    with pytest.raises(BackupFailed, match="1 server uses the database"):
        await load(restored, file, drop=True)

    await restored["workers"].update_one({}, {"$set": {"expires_at": datetime.now(UTC) - timedelta(seconds=1)}})
    await load(restored, file, drop=True)


async def test_a_server_that_comes_while_it_is_filled_keeps_its_database(file: bytes, restored: Database) -> None:
    await restored["precious"].insert_one({"_id": 1})
    tasks = []

    def come(_: Any) -> None:
        worker = {"_id": "w", "is_dead": False, "expires_at": datetime.now(UTC) + timedelta(seconds=60)}
        tasks.append(asyncio.ensure_future(restored["workers"].replace_one({"_id": "w"}, worker, upsert=True)))

    with pytest.raises(BackupFailed, match="1 server uses the database"):
        await load(restored, file, drop=True, report=come)

    await asyncio.gather(*tasks)
    await prepare(restored.client, restored.name)
    assert await restored["precious"].count_documents({}) == 1


async def test_rows_of_another_time_do_not_come_back_as_they_were(saved: Database, restored: Database) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    for name in LEFT_OUT:
        await saved[name].insert_one({"_id": 1})
        await saved[name].create_index("user_id", name="user_v1")
    await saved["workers"].insert_one({"_id": "w", "is_dead": False, "expires_at": soon})
    await saved["webhook_relay"].insert_one({"_id": "one", "token": {"_data": "82"}, "told_at": soon, "holder": "w"})
    made, _ = await save(Source(saved.client, saved.name, has_snapshots=True))

    await load(restored, made)

    for name in LEFT_OUT:
        assert await restored[name].count_documents({}) == 0
        assert "user_v1" in await restored[name].index_information()
    worker = await restored["workers"].find_one()
    assert worker is not None
    assert worker["is_dead"]
    assert worker["expires_at"] < soon
    relay = await restored["webhook_relay"].find_one()
    assert relay is not None
    assert relay["holder"] is None
    with pytest.raises(OperationFailure) as lost:
        await restored.watch(resume_after=relay["token"])
    assert lost.value.code in _PLACE_IS_LOST


def test_collections_that_do_not_come_back_are_there() -> None:
    names = {document.get_settings().name for document in DOCUMENTS}

    assert names >= {*LEFT_OUT, *CHANGED}
    assert AuditEntry.get_settings().name not in {*LEFT_OUT, *CHANGED}


async def test_of_two_restores_at_the_same_time_one_is_refused(
    file: bytes, saved: Database, restored: Database
) -> None:
    await saved["rows"].update_many({}, {"$set": {"newer": True}})
    other, _ = await save(Source(saved.client, saved.name, has_snapshots=True, page_documents=100))

    done = await asyncio.gather(load(restored, file), load(restored, other), return_exceptions=True)

    refused = [each for each in done if each is not None]
    assert len(refused) == 1
    assert isinstance(refused[0], BackupFailed)
    newer = await restored["rows"].count_documents({"newer": True})
    assert newer == (1000 if done[1] is None else 0)
    assert await restored["rows"].count_documents({}) == 1000
