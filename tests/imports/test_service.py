"""What an import stores: conversations whole and once, in order, with their times, whatever happened before."""

import asyncio
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from blockbuster import BlockBuster

from app.conversations.resource import CONVERSATIONS
from app.conversations.schemas import MessageCreate
from app.imports import report as reports
from app.imports import service
from app.imports.report import ImportReport
from app.imports.streams import UnreadableSource
from app.kit.repository import EVERYTHING
from app.services import Services
from tests.conftest import Person
from tests.imports.conftest import Write
from tests.imports.samples import conversation, line_of, node, tree
from tests.imports.stored import assert_each_once, numbered, stored, transcript


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
async def test_conversations_are_stored_as_they_were(services: Services, ana: Person, write: Write, pack: Any) -> None:
    item = {
        "id": "kdconv-film-dev-0",
        "title": "恋恋笔记本",
        "tags": ["film", " film ", "zh"],
        "created_at": "2026-01-31T12:00:00.123456+01:00",
        "messages": [
            {"role": "system", "content": "", "created_at": 1700000000},
            {"role": "user", "content": " 知道恋恋笔记本这部电影吗？\n", "metadata": {"k": "v"}},
            {"role": "assistant", "content": "=1+1 🙂", "model": "gpt", "created_at": "2026-02-01T00:00:00Z"},
        ],
    }
    report = await services.imports.service.run(write([pack(line_of(item))]), ana.id)
    (row,) = (await stored(services, ana)).values()
    first, second, third = await transcript(services, row["_id"])
    began = datetime(2026, 1, 31, 11, 0, 0, 123000, tzinfo=UTC)

    assert (report.added, report.messages, report.present, report.bad_count) == (1, 3, 0, 0)
    assert (row["title"], row["tags"], row["owner_id"]) == ("恋恋笔记本", ["film", "zh"], ana.id)
    assert (row["last_seq"], row["message_count"]) == (3, 3)
    assert (row["created_at"], row["last_message_at"]) == (began, third["created_at"])
    assert [each["role"] for each in (first, second, third)] == ["system", "user", "assistant"]
    assert [each["content"] for each in (first, second, third)] == [each["content"] for each in item["messages"]]  # type: ignore[index]
    assert first["created_at"] == datetime.fromtimestamp(1700000000, UTC)
    assert second["created_at"] == began
    assert third["created_at"] == datetime(2026, 2, 1, tzinfo=UTC)
    assert (second["metadata"], third["model"], third["owner_id"]) == ({"k": "v"}, "gpt", ana.id)


async def test_an_export_of_chatgpt_is_stored_as_it_was_shown(services: Services, ana: Person, write: Write) -> None:
    mapping = {
        "r": {"id": "r", "message": None, "parent": None, "children": ["q"]},
        "q": node("r", "question", create_time=1700000001.5),
        "a": node("q", "regenerated away", role="assistant", create_time=1700000002),
        "b": node("q", "answer", role="assistant", create_time=1700000003),
    }
    file = write([json.dumps([tree(mapping, current_node="b")]).encode()], "conversations.json")
    report = await services.imports.service.run(file, ana.id)
    row = (await stored(services, ana))["chatgpt:tree"]
    said = await transcript(services, row["_id"])

    assert (report.added, report.messages, report.format) == (1, 2, "chatgpt")
    assert [each["content"] for each in said] == ["question", "answer"]
    assert said[0]["created_at"] == datetime.fromtimestamp(1700000001.5, UTC)
    assert row["created_at"] == datetime.fromtimestamp(1700000000.25, UTC)


async def test_a_second_run_adds_nothing(services: Services, ana: Person, write: Write) -> None:
    file = write(numbered(5))
    await services.imports.service.run(file, ana.id)
    before = await stored(services, ana)
    again = await services.imports.service.run(file, ana.id)

    assert (again.added, again.messages, again.present) == (0, 0, 5)
    assert await stored(services, ana) == before
    await assert_each_once(services, ana, 5)


async def test_a_full_run_after_a_partial_one_adds_the_rest(services: Services, ana: Person, write: Write) -> None:
    await services.imports.service.run(write(numbered(3), "part.jsonl"), ana.id)
    report = await services.imports.service.run(write(numbered(7), "all.jsonl"), ana.id)

    assert (report.added, report.messages, report.present) == (4, 8, 3)
    await assert_each_once(services, ana, 7)


async def test_every_owner_has_a_copy_of_their_own(services: Services, ana: Person, ben: Person, write: Write) -> None:
    file = write(numbered(3))
    await services.imports.service.run(file, ana.id)
    report = await services.imports.service.run(file, ben.id)

    assert (report.added, report.present) == (3, 0)
    for owner in (ana, ben):
        await assert_each_once(services, owner, 3)


@pytest.mark.parametrize("batch", [1, 2, 100])
async def test_of_one_id_twice_in_a_file_the_first_is_taken(
    services: Services, ana: Person, write: Write, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(service, "BATCH_CONVERSATIONS", batch)
    file = write([conversation(id="a", title="first"), conversation(id="b"), conversation(id="a", title="second")])
    report = await services.imports.service.run(file, ana.id)
    rows = await stored(services, ana)

    assert (report.added, report.present) == (2, 1)
    assert rows["jsonl:a"]["title"] == "first"


async def test_ids_of_different_formats_do_not_meet(services: Services, ana: Person, write: Write) -> None:
    await services.imports.service.run(write([conversation(id="tree")]), ana.id)
    file = write([json.dumps([tree({"a": node(None, "hello")})]).encode()], "chatgpt.json")

    assert (await services.imports.service.run(file, ana.id)).added == 1
    assert set(await stored(services, ana)) == {"jsonl:tree", "chatgpt:tree"}


async def test_bad_lines_are_reported_with_their_numbers_and_harm_nothing(
    services: Services, ana: Person, write: Write
) -> None:
    good = numbered(4)
    lines = [good[0], b"{broken\n", good[1], b"\n", conversation(id=""), good[2], conversation(messages="x"), good[3]]
    report = await services.imports.service.run(write(lines), ana.id)

    assert [bad.position for bad in report.bad] == [2, 5, 7]
    assert (report.added, report.bad_count) == (4, 3)
    assert "not valid JSON" in report.bad[0].reason
    await assert_each_once(services, ana, 4)


async def test_very_many_bad_lines_are_counted_and_not_all_kept(
    services: Services, ana: Person, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "BAD_KEPT", 10)
    report = await services.imports.service.run(write([*numbered(1), *[b"x\n"] * 500, *numbered(2)[1:]]), ana.id)

    assert (report.bad_count, len(report.bad), report.added) == (500, 10, 2)


async def test_a_file_that_ends_too_early_gives_what_it_has(services: Services, ana: Person, write: Write) -> None:
    packed = gzip.compress(b"".join(line_of(each) for each in numbered(50)))
    report = await services.imports.service.run(write([packed[:-20]]), ana.id)

    assert report.bad_count == 1
    assert "ends too early" in report.bad[0].reason
    await assert_each_once(services, ana, report.added)
    assert (await services.imports.service.run(write([packed]), ana.id)).added == 50 - report.added


async def test_a_conversation_that_was_deleted_stays_deleted(services: Services, ana: Person, write: Write) -> None:
    file = write(numbered(2))
    await services.imports.service.run(file, ana.id)
    row = (await stored(services, ana))["jsonl:c-0"]
    await services.conversations.delete(EVERYTHING, row["_id"], None)

    assert (await services.imports.service.run(file, ana.id)).added == 0
    assert (await stored(services, ana))["jsonl:c-0"]["status"] == "deleted"


async def test_an_imported_conversation_goes_on_with_the_next_number(
    services: Services, ana: Person, write: Write
) -> None:
    await services.imports.service.run(write([*numbered(1), conversation(id="empty", messages=[])]), ana.id)
    for source_id, seq in (("jsonl:c-0", 3), ("jsonl:empty", 1)):
        id = (await stored(services, ana))[source_id]["_id"]
        appended = await services.conversations.append(EVERYTHING, id, [MessageCreate(role="user", content="more")])
        assert appended.messages[0]["seq"] == seq
        assert set(CONVERSATIONS.render(appended.conversation)) == set(CONVERSATIONS.members)


async def test_a_run_that_is_stopped_leaves_whole_conversations_and_no_open_file(
    services: Services, ana: Person, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "BATCH_CONVERSATIONS", 3)
    file = write(numbered(10))

    def stop(report: ImportReport) -> None:
        if report.added == 6:
            raise KeyError("stopped")

    with pytest.raises(KeyError, match="stopped"):
        await services.imports.service.run(file, ana.id, stop)
    assert str(file) not in [each.path for each in psutil.Process().open_files()]
    await assert_each_once(services, ana, 6)

    assert (await services.imports.service.run(file, ana.id)).added == 4
    await assert_each_once(services, ana, 10)


async def test_progress_grows_to_the_size_of_the_file(
    services: Services, ana: Person, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "BATCH_CONVERSATIONS", 10)
    file, steps = write(numbered(100)), []
    report = await services.imports.service.run(file, ana.id, lambda report: steps.append(report.bytes_read))

    assert len(steps) == 10
    assert steps == sorted(steps)
    assert steps[-1] == report.bytes_read == report.size_bytes == file.stat().st_size


async def test_a_file_that_cannot_be_read_is_refused(services: Services, ana: Person, write: Write) -> None:
    for path in (Path("/absent.jsonl"), write([b""], "empty"), write([b"\x89PNG\r\n"], "picture.png")):
        with pytest.raises(UnreadableSource, match=path.name):
            await services.imports.service.run(path, ana.id)
    assert await stored(services, ana) == {}


async def test_an_import_does_not_block_the_event_loop(
    services: Services, ana: Person, write: Write, blocking_is_an_error: BlockBuster
) -> None:
    assert (await services.imports.service.run(write(numbered(300)), ana.id)).added == 300


@pytest.mark.mongod
async def test_imports_of_one_file_at_once_add_it_once(
    services: Services, ana: Person, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reads the file in another order, so that they meet again and again in the middle of their batches."""
    monkeypatch.setattr(service, "BATCH_CONVERSATIONS", 20)
    items = numbered(200)
    orders = [items, items[::-1], items[100:] + items[:100], items[::2] + items[1::2]]
    files = [write(order, f"{number}.jsonl") for number, order in enumerate(orders)]
    reports = await asyncio.gather(*(services.imports.service.run(file, ana.id) for file in files))

    assert sum(report.added for report in reports) == 200
    assert [report.added + report.present for report in reports] == [200] * 4
    await assert_each_once(services, ana, 200)
