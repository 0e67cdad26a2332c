"""What is in the file of a job: what was there at its start; and in that of the next one: what has come since."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.kit.clock import now
from app.services import Services
from tests.api.calls import fields_at_fault, new_conversation, say
from tests.conftest import Person
from tests.exports.files import column, fill, read_csv, read_jsonl
from tests.exports.jobs import Json, ask, done, ended, file_of

pytestmark = pytest.mark.mongod


def id_at(instant: datetime) -> ObjectId:
    """An id as it is made at an instant."""
    return ObjectId(ObjectId.from_datetime(instant).binary[:4] + ObjectId().binary[4:])


async def contents(client: httpx.AsyncClient, job: Json) -> list[str]:
    return column(read_csv((await file_of(client, job)).content), "Content")


async def test_what_is_written_from_the_snapshot_on_is_not_in_the_file_and_all_before_is(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    await fill(services, ana.id, ["before"])
    job = await ask(as_ana)
    snapshot_at = datetime.fromisoformat(job["snapshot_at"])
    assert now() - timedelta(seconds=1) < snapshot_at <= now() + timedelta(seconds=1)
    conversation = await new_conversation(as_ana)
    await say(as_ana, conversation, "within the second")  # before the snapshot's instant, unless that is now
    collection = services.conversations.messages.collection
    [row] = await fill(services, ana.id, ["after, from an import of old conversations"])
    await collection.delete_one({"_id": row["_id"]})
    await collection.insert_one({**row, "_id": id_at(snapshot_at)})

    found = await contents(as_ana, await ended(as_ana, job))
    assert found[0] == "before"
    assert set(found[1:]) <= {"within the second"}


@pytest.mark.usefixtures("at_once")
async def test_the_next_export_has_what_was_created_or_changed_since(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    old = now() - timedelta(hours=1)
    rows = await fill(services, ana.id, ["one", "two", "three"])
    await services.conversations.messages.collection.update_many({}, {"$set": {"updated_at": old}})
    first = await done(as_ana)
    assert first["rows"] == 3

    patched = await as_ana.patch(f"/api/messages/{rows[1]['_id']}", json={"feedback": {"rating": "up"}})
    assert patched.status_code == 200, patched.text
    conversation = await new_conversation(as_ana)
    await say(as_ana, conversation, "four")
    second = await done(as_ana, since=first["token"])
    third = await done(as_ana, since=second["token"], columns=["seq"], format="jsonl")

    assert second["since"] == first["snapshot_at"]
    assert await contents(as_ana, second) == ["two", "four"]
    assert third["rows"] == 2  # again: what is younger than the overlap may have been missed, as far as anybody knows


@pytest.mark.usefixtures("at_once")
async def test_filters_and_searches_hold_in_what_has_changed_too(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    filters = {"q": "mocha", "role": "user", "created_at__gte": "2026-01-01"}
    first = await done(as_ana, filters=filters)
    rows = await fill(services, ana.id, ["a mocha", "mocha of the assistant", "tea", "no", "MOCHA again"])
    assert (await as_ana.patch(f"/api/messages/{rows[0]['_id']}", json={"metadata": {"a": "b"}})).status_code == 200

    assert await contents(as_ana, await done(as_ana, filters=filters, since=first["token"])) == [
        "MOCHA again",  # in the order of the changes
        "a mocha",
    ]


@pytest.mark.usefixtures("at_once")
async def test_what_was_hidden_and_shown_again_is_a_change(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    old = now() - timedelta(hours=1)
    conversation = await new_conversation(as_ana)
    await say(as_ana, conversation, "hidden")
    path = f"/api/conversations/{conversation['id']}"
    assert (await as_ana.delete(path)).status_code == 204
    await services.conversations.messages.collection.update_many({}, {"$set": {"updated_at": old}})
    first = await done(as_ana)
    assert first["rows"] == 0
    assert (await as_ana.post(f"{path}/restore")).status_code == 200

    assert await contents(as_ana, await done(as_ana, since=first["token"])) == ["hidden"]


async def test_a_transaction_that_commits_late_is_missed_by_no_export(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    """Its rows are stamped before the snapshot and appear after the file was written."""
    await fill(services, ana.id, ["early"])
    transactions = services.database.transactions
    is_open, may_commit = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        await fill(services, ana.id, ["late"])
        is_open.set()
        await may_commit.wait()

    writing = asyncio.create_task(transactions.run(write))
    await is_open.wait()
    first = await done(as_ana)
    assert await contents(as_ana, first) == ["early"]
    may_commit.set()
    await writing

    assert "late" in await contents(as_ana, await done(as_ana, since=first["token"]))


async def test_the_overlap_reaches_as_far_as_it_says_and_no_further(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    first = await done(as_ana)
    snapshot_at = datetime.fromisoformat(first["snapshot_at"])
    ages = [timedelta(minutes=2), timedelta(minutes=2, milliseconds=1), timedelta(0), -timedelta(milliseconds=1)]
    rows = await fill(services, ana.id, ["in", "out", "at", "behind"])
    collection = services.conversations.messages.collection
    for row, age in zip(rows, ages, strict=True):
        await collection.update_one({"_id": row["_id"]}, {"$set": {"updated_at": snapshot_at - age}})

    assert await contents(as_ana, await done(as_ana, since=first["token"])) == ["in", "at", "behind"]


@pytest.mark.usefixtures("at_once")
async def test_a_token_continues_only_its_own_export(as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient) -> None:
    job = await done(as_ana, filters={"role": "user"})
    token = job["token"]
    same: dict[str, Any] = {"resource": "messages", "filters": {"role": "user"}, "since": token}

    for client, body in (
        (as_ben, same),
        (as_ana, {**same, "filters": {}}),
        (as_ana, {**same, "resource": "conversations", "filters": {}}),
        (as_ana, {**same, "since": ("B" if token[0] == "A" else "A") + token[1:]}),
    ):
        assert fields_at_fault(await client.post("/api/exports", json=body)) == ["body.since"]
    assert (await as_ana.post("/api/exports", json={**same, "format": "jsonl"})).status_code == 202


@pytest.mark.usefixtures("at_once")
async def test_an_answer_that_is_being_written_comes_as_it_is_and_again_when_it_is_whole(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    [row] = await fill(services, ana.id, [""])
    collection = services.conversations.messages.collection
    await collection.update_one({"_id": row["_id"]}, {"$set": {"status": "streaming"}})
    first = await done(as_ana, format="jsonl", columns=["content", "status"])
    await services.conversations.messages.finish(row["_id"], {"status": "complete", "content": "whole"})
    second = await done(as_ana, format="jsonl", columns=["content", "status"], since=first["token"])

    assert read_jsonl((await file_of(as_ana, first)).content) == [{"content": "", "status": "streaming"}]
    assert read_jsonl((await file_of(as_ana, second)).content) == [{"content": "whole", "status": "complete"}]
