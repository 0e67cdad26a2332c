"""Imports as stored jobs: what is told of them, dry runs, bad records as they came, and ends of every kind."""

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest
from bson import ObjectId

from app.imports import service, work
from app.imports.mapping import parse_map
from app.imports.report import ImportReport
from app.imports.service import ImportOptions
from app.imports.streams import UnreadableSource
from app.kit.errors import Conflict
from app.kit.repository import EVERYTHING, Row
from app.services import Services
from app.turns.model import Worker
from tests.conftest import Person
from tests.imports.conftest import Write
from tests.imports.samples import CLAUDE, conversation
from tests.imports.stored import assert_each_once, numbered, stored

pytestmark = pytest.mark.mongod  # jobs are claimed under a lease of the database's clock
NO_OPTIONS = ImportOptions()


async def errors_of(services: Services, id: ObjectId) -> list[dict[str, Any]]:
    _, chunks = await services.imports.errors(EVERYTHING, id)
    async with aclosing(chunks):
        data = b"".join([chunk async for chunk in chunks])
    return [json.loads(line) for line in data.splitlines()]


async def jobs(services: Services) -> list[Row]:
    return await services.imports.rows.collection.find(sort=[("_id", 1)]).to_list()


async def test_an_import_is_remembered_with_its_bad_records(services: Services, ana: Person, write: Write) -> None:
    lines = [*numbered(2), b"{oops\n", conversation(id="", title="no id"), b"\xff\xfe\n"]
    row = await services.imports.run_here(write(lines), ana.id, NO_OPTIONS)

    assert (row["state"], row["action"], row["origin"], row["format"]) == ("completed", "import", "command", "jsonl")
    assert (row["filename"], row["conversations"], row["messages"], row["bad"]) == ("file.jsonl", 2, 4, 3)
    assert row["bytes"] == row["bytes_read"] > 0
    assert row["finished_at"] is not None
    assert await Worker.get_pymongo_collection().count_documents({}) == 0  # the command has left
    assert [each["position"] for each in row["bad_first"]] == [3, 4, 5]
    found = await errors_of(services, row["_id"])
    assert [each["position"] for each in found] == [3, 4, 5]
    assert found[0]["row"] == "{oops"
    assert json.loads(found[1]["row"])["title"] == "no id"
    assert found[1]["reason"] == "The id is missing or empty"
    assert found[2]["row"] == "\\xff\\xfe"
    assert (await stored(services, ana))["jsonl:c-0"]["import_id"] == row["_id"]


async def test_a_file_of_errors_of_any_size_comes_back(
    services: Services, ana: Person, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = await services.imports.run_here(write([{"id": "", "filler": "x" * 300_000}] * 12), ana.id, NO_OPTIONS)
    assert row["errors_bytes"] > 3_000_000
    assert len(await errors_of(services, row["_id"])) == 12


async def test_a_dry_run_says_what_would_be_stored_and_stores_nothing(
    services: Services, ana: Person, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "BATCH_CONVERSATIONS", 2)
    await services.imports.run_here(write(numbered(2), "before.jsonl"), ana.id, NO_OPTIONS)
    before = await stored(services, ana)
    long = conversation(id="long", messages=[{"role": "user", "content": "x" * 1000}])
    file = write([*numbered(4), long, *numbered(4)[2:], b"{oops\n"])
    dry = await services.imports.run_here(file, ana.id, ImportOptions(dry_run=True))

    assert (dry["action"], dry["conversations"], dry["messages"], dry["present"], dry["bad"]) == ("dry_run", 3, 5, 4, 1)
    assert [each["source_id"] for each in dry["preview"]] == ["c-2", "c-3", "long"]
    assert dry["preview"][0]["messages"][1]["content"] == "2/1"
    assert dry["preview"][2]["messages"][0]["content"] == "x" * 300 + "…"
    assert await stored(services, ana) == before
    real = await services.imports.run_here(file, ana.id, NO_OPTIONS)
    assert [real[name] for name in ("conversations", "messages", "present", "bad")] == [3, 5, 4, 1]


async def test_the_columns_that_were_used_are_told(services: Services, ana: Person, write: Write) -> None:
    file = write([b"Chat;Who;Text\r\n1;human;hi\r\n1;bot;hello\r\n"], "chat.csv")
    options = ImportOptions(columns=parse_map(["role=Who"]), namespace="crm")
    row = await services.imports.run_here(file, ana.id, options)

    assert {each["field"]: each["heading"] for each in row["mapping"]} == {
        "conversation_id": "Chat",
        "role": "Who",
        "content": "Text",
    }
    assert set(await stored(services, ana)) == {"crm:1"}


@pytest.mark.parametrize(
    ("data", "wrong", "right", "columns"),
    [
        (b'{"id": "", "messages": []}\n{"id": "b", "messages": []}\n', b'\\"id\\": \\"\\"', b'\\"id\\": \\"a\\"', ()),
        (b"Chat;Who;Text\r\n1;human;hi\r\n1;narrator;hm\r\n2;human;x\r\n", b'"narrator"', b'"bot"', ("role=Who",)),
        (json.dumps([CLAUDE, {**CLAUDE, "uuid": 5}]).encode(), b'"uuid": 5', b'"uuid": "five"', ()),
    ],
    ids=["jsonl", "csv", "claude"],
)
async def test_a_mended_file_of_errors_is_imported_like_the_file_it_comes_from(
    services: Services, ana: Person, write: Write, data: bytes, wrong: bytes, right: bytes, columns: tuple[str, ...]
) -> None:
    options = ImportOptions(columns=parse_map(columns))
    row = await services.imports.run_here(write([data]), ana.id, options)
    assert (row["conversations"], row["bad"] > 0) == (1, True)
    _, chunks = await services.imports.errors(EVERYTHING, row["_id"])
    errors = b"".join([chunk async for chunk in chunks])
    assert wrong in errors

    mended = await services.imports.run_here(write([errors.replace(wrong, right)]), ana.id, options)
    assert (mended["conversations"], mended["bad"]) == (1, 0), mended["bad_first"]


async def test_a_file_that_cannot_be_read_leaves_no_trace(services: Services, ana: Person, write: Write) -> None:
    with pytest.raises(UnreadableSource):
        await services.imports.run_here(write([b"\x89PNG\r\n\0"], "x.png"), ana.id, NO_OPTIONS)
    assert await jobs(services) == []


async def test_an_import_that_is_stopped_says_so_and_can_be_undone_or_run_again(
    services: Services, ana: Person, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "BATCH_CONVERSATIONS", 3)
    file = write(numbered(10))

    def stop(report: ImportReport) -> None:
        if report.added == 6:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(services.imports.run_here(file, ana.id, NO_OPTIONS, stop))
    (row,) = await jobs(services)
    assert row["state"] == "cancelled"
    await assert_each_once(services, ana, 6)

    assert (await services.imports.run_here(file, ana.id, NO_OPTIONS))["conversations"] == 4
    done = await services.imports.undo_here(EVERYTHING, row["_id"], force=False, progress=lambda _: None)
    assert done["removed"] == 6


async def test_an_import_that_fails_says_why(
    services: Services, ana: Person, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(report: ImportReport) -> None:
        raise Conflict("For a reason.")

    with pytest.raises(Conflict):
        await services.imports.run_here(write(numbered(1)), ana.id, NO_OPTIONS, fail)
    (row,) = await jobs(services)
    assert (row["state"], row["error"]["message"]) == ("failed", "For a reason.")


async def test_another_process_that_takes_it_for_dead_stops_it(
    services: Services, ana: Person, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim is gone, so it writes nothing more; the other one says that the command has ended."""
    monkeypatch.setattr(service, "BATCH_CONVERSATIONS", 2)
    monkeypatch.setattr(work, "SHOWN_EVERY_SECONDS", 0.0)
    rows = services.imports.rows
    loop = asyncio.get_running_loop()
    taken: list[asyncio.Task[Any]] = []

    def take(report: ImportReport) -> None:
        if not taken:
            change = {"$set": {"state": "queued", "worker": None}}
            taken.append(loop.create_task(_await(rows.collection.update_one({"state": "running"}, change))))

    with pytest.raises(Conflict, match="taken for dead; run it again"):
        await services.imports.run_here(write(numbered(50)), ana.id, NO_OPTIONS, take)
    await asyncio.gather(*taken)
    assert len(await stored(services, ana)) < 50


async def _await(work: Any) -> Any:
    return await work
