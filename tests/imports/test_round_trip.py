"""What was exported and is imported into an empty database is exported again as the same file."""

import io
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import openpyxl
import pytest

from app.conversations.model import Conversation, Message
from app.conversations.resource import MESSAGES
from app.imports import drafts
from app.imports.service import ImportOptions
from app.kit.repository import Row
from app.services import Services
from tests.conftest import Person
from tests.exports.files import START, export, read_csv, read_xlsx
from tests.exports.jobs import done, file_of
from tests.imports.stored import stored

pytestmark = pytest.mark.mongod  # jobs are claimed under a lease of the database's clock
CALLS = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]
ANSWER: dict[str, Any] = {
    "model": "openai:gpt-5",
    "provider": "openai",
    "usage": {"prompt": 12, "completion": 3, "total": 15},
    "cost": 0.000123,
    "finish_reason": "stop",
    "feedback": {"rating": "down", "comment": '=no, "really"'},
    "metadata": {"k": "v", "行": "列"},
    "reasoning": "+thinking\nof it",
}
SAID: Sequence[dict[str, Any]] = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": '=1+1, "quoted"\nline\t tab 知道 👩‍👩‍👧 שלום'},
    {"role": "assistant", "content": "", "tool_calls": CALLS, "finish_reason": "tool_calls"},
    {"role": "tool", "content": "0012345678901234567890", "tool_call_id": "call_1"},
    {"role": "assistant", "content": "@SUM(A1) " + "long 长 " * 8000, **ANSWER},
    {"role": "assistant", "content": "cut", "status": "interrupted", "model": "m"},
    {"role": "assistant", "content": "", "status": "failed", "error": {"code": "upstream_failed", "message": "-no"}},
    {"role": "assistant", "content": " spaces around ", "status": "superseded"},
)
CONVERSATION: dict[str, Any] = {
    "title": "+title 标题",
    "system_prompt": "You are\nkind.",
    "model": "openai:gpt-5",
    "tags": ["a, b", "c;d", "标"],
    "metadata": {"x": "1"},
    "status": "archived",
    "created_at": START,
    "updated_at": START + timedelta(days=1, milliseconds=7),
    "last_message_at": START + timedelta(hours=2, milliseconds=123),
}
ANEW = {"id": "Id", "conversation_id": "Conversation", "updated_at": "Updated", "last_message_at": "Last message"}
"""Columns, with their labels, that are made anew unless the import restores."""


@pytest.fixture
async def talks(services: Services, ana: Person) -> None:
    """Three conversations whose messages lie between each other in time, and an empty one."""
    for number in range(3):
        talk = Conversation(owner_id=ana.id, **{**CONVERSATION, "title": f"+title {number}"})
        talk.created_at += timedelta(minutes=number)
        talk.last_seq = talk.message_count = len(SAID)
        messages = [
            Message(
                conversation_id=talk.id,
                owner_id=ana.id,
                seq=seq,
                created_at=START + timedelta(seconds=10 * (seq // 2), milliseconds=number * 7),
                **each,
            )
            for seq, each in enumerate(SAID, start=1)
        ]
        await services.conversations.rows.insert_many([talk])
        await services.conversations.messages.insert_many(messages)
    await services.conversations.rows.insert_many([Conversation(owner_id=ana.id, title="empty", created_at=START)])


Files = dict[str, bytes]


@pytest.fixture
def exported(as_ana: httpx.AsyncClient) -> Callable[..., Awaitable[Files]]:
    async def export_both(**parameters: str) -> Files:
        return {name: (await export(as_ana, name, **parameters)).content for name in ("conversations", "messages")}

    return export_both


@pytest.fixture
def imported(services: Services, ana: Person, tmp_path: Path) -> Callable[..., Awaitable[Row]]:
    async def import_both(files: Files, **options: Any) -> Row:
        """Import into a database without a conversation."""
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        await services.conversations.rows.collection.delete_many({})
        await services.conversations.messages.collection.delete_many({})
        wanted = ImportOptions(companions=[tmp_path / "conversations"], **options)
        row = await services.imports.run_here(tmp_path / "messages", ana.id, wanted)
        assert (row["state"], row["bad"], row["conversations"]) == ("completed", 0, 4), row["bad_first"]
        return row

    return import_both


@pytest.mark.parametrize("longest", [drafts.MAX_MESSAGES, 3], ids=["short", "drafts"])
async def test_the_next_export_has_what_was_restored(
    as_ana: httpx.AsyncClient, exported: Any, imported: Any, talks: None, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although its times, which are kept, are those of before the first one."""
    files = await exported(format="jsonl")
    first = {name: await done(as_ana, name) for name in files}
    monkeypatch.setattr(drafts, "MAX_MESSAGES", longest)
    await imported(files, restore=True)

    for name, data in files.items():
        job = await done(as_ana, name, format="jsonl", since=first[name]["token"])
        assert sorted((await file_of(as_ana, job)).content.splitlines()) == sorted(data.splitlines())


@pytest.mark.parametrize(
    "parameters",
    [{"format": "jsonl"}, {"format": "csv", "raw": "true"}, {"format": "csv"}],
    ids=["jsonl", "raw", "csv"],
)
async def test_a_restored_export_is_the_same_file(
    exported: Any, imported: Any, talks: None, parameters: dict[str, str]
) -> None:
    before = await exported(**parameters)
    await imported(before, restore=True)
    assert await exported(**parameters) == before


async def test_a_restored_workbook_has_the_same_cells(exported: Any, imported: Any, talks: None) -> None:
    before = await exported(format="xlsx")
    assert "Content (2)" in read_xlsx(before["messages"])[0]
    await imported(before, restore=True)
    after = await exported(format="xlsx")
    for name, data in before.items():
        assert read_xlsx(after[name]) == read_xlsx(data)


@pytest.mark.parametrize("format", ["jsonl", "csv", "xlsx"])
async def test_an_import_beside_others_has_the_same_but_for_ids_and_times_of_change(
    exported: Any, imported: Any, talks: None, services: Services, ana: Person, format: str
) -> None:
    before = await exported(format=format)
    await imported(before)
    after = await exported(format=format)
    for name in before:
        assert _lasting(format, after[name]) == _lasting(format, before[name])
    sources = set(await stored(services, ana))
    assert len(sources) == 4
    assert all(source.startswith("verbatim:") for source in sources)


def _lasting(format: str, data: bytes) -> list[Any]:
    """The rows without what is made anew."""
    if format == "jsonl":
        lines = [json.loads(line) for line in data.splitlines()]
        return [{key: value for key, value in line.items() if key not in ANEW} for line in lines]
    rows = read_csv(data) if format == "csv" else read_xlsx(data)
    keep = [index for index, heading in enumerate(rows[0]) if heading not in ANEW.values()]
    return [[row[index] for index in keep] for row in rows]


async def test_one_file_of_messages_can_hold_what_is_known_of_their_conversations(
    as_ana: httpx.AsyncClient, services: Services, ana: Person, talks: None, tmp_path: Path
) -> None:
    names = [*(column.name for column in MESSAGES.exported), *(f"conversation.{name}" for name in CONVERSATION)]
    before = (await export(as_ana, "messages", format="jsonl", columns=",".join(names))).content
    path = tmp_path / "all.jsonl"
    path.write_bytes(before)
    await services.conversations.rows.collection.delete_many({})
    await services.conversations.messages.collection.delete_many({})
    await services.imports.run_here(path, ana.id, ImportOptions(restore=True))

    assert (await export(as_ana, "messages", format="jsonl", columns=",".join(names))).content == before


async def test_an_export_imported_where_it_was_made_adds_nothing(
    exported: Any, services: Services, ana: Person, ben: Person, talks: None, tmp_path: Path
) -> None:
    files = await exported(format="jsonl")
    path = tmp_path / "messages.jsonl"
    path.write_bytes(files["messages"])
    mine = await services.imports.run_here(path, ana.id, ImportOptions())
    assert (mine["conversations"], mine["present"]) == (0, 3)

    theirs = await services.imports.run_here(path, ben.id, ImportOptions())
    assert (theirs["conversations"], theirs["present"]) == (3, 0)
    again = await services.imports.run_here(path, ben.id, ImportOptions())
    assert (again["conversations"], again["present"]) == (0, 3)


async def test_what_belongs_to_somebody_else_cannot_be_restored(
    exported: Any, services: Services, ana: Person, ben: Person, talks: None, tmp_path: Path
) -> None:
    files = await exported(format="jsonl")
    path = tmp_path / "messages.jsonl"
    path.write_bytes(files["messages"])
    row = await services.imports.run_here(path, ben.id, ImportOptions(restore=True))

    assert (row["conversations"], row["present"], row["bad"]) == (0, 0, 3)
    assert row["bad_first"][0]["reason"].endswith("is there already, and another user's")
    assert await stored(services, ben) == {}

    # The conversations are gone, but their messages are there.
    await services.conversations.rows.collection.delete_many({"owner_id": ana.id})
    row = await services.imports.run_here(path, ben.id, ImportOptions(restore=True))
    assert (row["conversations"], row["bad"]) == (0, 3)
    assert "is there already, in another conversation" in row["bad_first"][0]["reason"]


async def test_a_message_that_comes_twice_is_told(
    exported: Any, services: Services, ben: Person, talks: None, tmp_path: Path
) -> None:
    files = await exported(format="jsonl")
    path = tmp_path / "twice.jsonl"
    path.write_bytes(files["messages"] * 2)
    row = await services.imports.run_here(path, ben.id, ImportOptions())
    assert (row["conversations"], row["bad"]) == (0, 3 * 2 * len(SAID))
    assert row["bad_first"][0]["reason"] == "Message 1 of the conversation comes twice"


async def test_a_workbook_of_several_sheets_is_one_table(exported: Any, imported: Any, talks: None) -> None:
    """As an export over a million rows has them."""
    files = await exported(format="xlsx")
    rows = read_xlsx(files["messages"])
    book = openpyxl.Workbook(write_only=True)
    for number, start in enumerate(range(1, len(rows), 7), start=1):
        sheet = book.create_sheet("Messages" if number == 1 else f"Messages ({number})")
        for row in [rows[0], *rows[start : start + 7]]:
            sheet.append([cell if not str(cell).startswith("=") else f"'{cell}" for cell in row])
    book.create_sheet("About").append(["Item", "Value"])
    buffer = io.BytesIO()
    book.save(buffer)
    row = await imported({**files, "messages": buffer.getvalue()}, restore=True)
    assert row["messages"] == 3 * len(SAID)


async def test_the_guard_of_formulas_is_taken_off_our_own_exports_only(
    services: Services, ana: Person, tmp_path: Path
) -> None:
    path = tmp_path / "other.csv"
    path.write_bytes(b"\xef\xbb\xbfchat,role,text\r\n1,user,'=1+1\r\n")
    await services.imports.run_here(path, ana.id, ImportOptions())
    (row,) = await services.conversations.messages.collection.find().to_list()
    assert row["content"] == "'=1+1"
