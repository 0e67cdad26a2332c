"""An export read again is what the database holds: every row, every text, every time."""

from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest
from bson import ObjectId

from app.conversations.model import CalledFunction, Fault, Feedback, Message, TokenUsage, ToolCall
from app.conversations.resource import MESSAGES
from app.kit.repository import Row
from app.services import Services
from tests.api.calls import new_conversation
from tests.conftest import Person
from tests.exports.files import column, export, fill, open_xlsx, read_csv, read_jsonl, read_xlsx

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", '"=1', "＝1+1"]
TEXTS = [
    *FORMULAS,
    "",
    "a, b; c",
    'say "hi"',
    "two\nlines\n",
    "carriage\r\nreturn\r",
    " led and trailed ",
    "知道恋恋笔记本这部电影吗？",
    "👩‍👩‍👧‍👦 e\u0301 \U0001f9cb",
    "\u2028\u0085\u00a0",
    "'quoted",
    "_x0041_",
    "00123",
    "2026-01-01",
    "http://example.org/",
    "<&>]]>",
]


@pytest.fixture
async def rows(services: Services, ana: Person) -> list[Row]:
    return await fill(services, ana.id, TEXTS)


async def answered(services: Services, owner_id: ObjectId) -> Row:
    """A message in which every column has a value."""
    message = Message(
        conversation_id=ObjectId(),
        owner_id=owner_id,
        seq=1,
        role="assistant",
        content="done",
        turn_id=ObjectId(),
        model="gpt",
        provider="up",
        tool_calls=[ToolCall(id="call_1", function=CalledFunction(name="f", arguments='{"a": "é"}'))],
        tool_call_id="call_0",
        reasoning="Let me see, 好",
        usage=TokenUsage(prompt=1, completion=2, total=3),
        cost=0.00125,
        finish_reason="stop",
        error=Fault(code="oops", message="it, broke"),
        feedback=Feedback(rating="up", comment='so "good"'),
        metadata={"a": "é, b"},
        created_at=datetime(2026, 1, 31, 23, 59, 59, 999000, tzinfo=UTC),
    )
    return (await services.conversations.messages.insert_many([message]))[0]


async def test_csv_for_programs_is_the_text_as_it_is(as_ana: httpx.AsyncClient, rows: list[Row]) -> None:
    response = await export(as_ana, "messages", sort="created_at", raw="true")
    table = read_csv(response.content)

    assert not response.content.startswith(b"\xef\xbb\xbf")
    assert column(table, "Content") == [row["content"] for row in rows]
    assert column(table, "Id") == [str(row["_id"]) for row in rows]


async def test_csv_for_spreadsheets_has_a_byte_order_mark_and_no_formula(
    as_ana: httpx.AsyncClient, rows: list[Row]
) -> None:
    response = await export(as_ana, "messages", sort="created_at")
    expected = [f"'{text}" if text in FORMULAS else text for text in TEXTS]

    assert response.content.startswith(b"\xef\xbb\xbf")
    assert column(read_csv(response.content), "Content") == expected


async def test_jsonl_is_the_text_as_it_is(as_ana: httpx.AsyncClient, rows: list[Row]) -> None:
    lines = read_jsonl((await export(as_ana, "messages", sort="created_at", format="jsonl")).content)
    assert [line["content"] for line in lines] == TEXTS
    assert [line["id"] for line in lines] == [str(row["_id"]) for row in rows]


async def test_a_workbook_holds_every_text_as_text(as_ana: httpx.AsyncClient, rows: list[Row]) -> None:
    data = (await export(as_ana, "messages", sort="created_at", format="xlsx")).content
    table = read_xlsx(data)
    cells = [row[table[0].index("Content")] for row in open_xlsx(data).worksheets[0].iter_rows(min_row=2)]

    expected = [text.replace("\r\n", "\n").replace("\r", "\n") or None for text in TEXTS]
    assert column(table, "Content") == expected
    assert {cell.data_type for cell, text in zip(cells, TEXTS, strict=True) if text} <= {"s", "inlineStr"}
    assert not [cell for cell in cells if cell.hyperlink]


async def test_a_workbook_has_real_dates_and_numbers(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    row = await answered(services, ana.id)
    table = read_xlsx((await export(as_ana, "messages", format="xlsx")).content)
    values = dict(zip(table[0], table[1], strict=True))

    assert values["Created"].replace(tzinfo=UTC) == row["created_at"]
    assert (values["Number"], values["Prompt tokens"], values["Tokens"]) == (1, 1, 3)
    assert values["Metadata"] == '{"a":"é, b"}'


async def test_a_workbook_tells_about_itself(as_ana: httpx.AsyncClient, rows: list[Row]) -> None:
    response = await export(as_ana, "messages", format="xlsx", role="user", q="1")
    book = open_xlsx(response.content)
    about = dict(book["About"].iter_rows(min_row=2, values_only=True))

    assert book.sheetnames == ["Messages", "About"]
    assert book["Messages"].freeze_panes == "A2"
    assert about["Title"] == "Verbatim: messages"
    assert about["Filter"] == "q=1, role=user"
    assert about["Sort"] == "created_at"
    assert about["Rows"] == book["Messages"].max_row - 1 > 0
    assert datetime.fromisoformat(about["Exported at"]) <= datetime.now(UTC)


async def test_a_text_longer_than_a_cell_goes_on_in_the_next(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    text = "漢字🙂" * 20_000
    await fill(services, ana.id, [text, "short"])
    table = read_xlsx((await export(as_ana, "messages", format="xlsx", columns="content", sort="created_at")).content)

    assert table[0] == ["Content", "Content (2)", "Content (3)"]
    assert ["".join(cell or "" for cell in row) for row in table[1:]] == [text, "short"]


async def test_every_column_of_a_message_is_its_stored_value(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    row = await answered(services, ana.id)
    line = read_jsonl((await export(as_ana, "messages", format="jsonl")).content)[0]
    table = read_csv((await export(as_ana, "messages", raw="true")).content)
    cells = dict(zip(table[0], table[1], strict=True))

    for each in MESSAGES.exported:
        stored: Any = row
        exported: Any = line
        for segment in each.path.split("."):
            stored = stored[segment]
        for segment in each.name.split("."):
            exported = exported[segment]
        if isinstance(stored, datetime):
            stored = "2026-01-31T23:59:59.999Z"
        assert exported == (str(stored) if each.kind == "id" else stored), each.name
        assert cells[each.label] == (str(stored) if each.kind != "json" else orjson.dumps(stored).decode()), each.name


async def test_a_row_without_the_newer_fields_has_empty_cells(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    await fill(services, ana.id, ["old"])
    absent = {"usage": "", "error": "", "provider": "", "metadata": ""}
    await services.conversations.messages.collection.update_many({}, {"$unset": absent})
    table = read_csv((await export(as_ana, "messages")).content)

    assert column(table, "Content") == ["old"]
    assert [column(table, label) for label in ("Tokens", "Error", "Provider", "Metadata")] == [[""]] * 4


async def test_users_and_conversations_are_exported_like_messages(as_ana: httpx.AsyncClient, ana: Person) -> None:
    address = {"street": "1, Main", "city": "München", "zipcode": "1", "country": "DE"}
    profile = {"bio": "=cmd", "birth_date": "1815-12-10", "addresses": [address]}
    patched = await as_ana.patch("/api/users/me", json={"profile": profile})
    assert patched.status_code == 200, patched.text
    await new_conversation(as_ana, title="=1", tags=["a", "b,c"], metadata={"k": "v"})

    user = read_jsonl((await export(as_ana, "users", format="jsonl")).content)[0]
    sheet = read_xlsx((await export(as_ana, "users", format="xlsx")).content)
    conversation = read_jsonl((await export(as_ana, "conversations", format="jsonl")).content)[0]
    table = read_csv((await export(as_ana, "conversations")).content)

    assert user["profile"]["bio"] == "=cmd"
    assert user["profile"]["addresses"][0]["city"] == "München"
    assert column(sheet, "Birth date") == ["1815-12-10"]  # Excel has no right day before 1900-03-01
    assert conversation["tags"] == ["a", "b,c"]
    assert column(table, "Title") == ["'=1"]
    assert column(table, "Tags") == ['["a","b,c"]']


@pytest.mark.mongod
@pytest.mark.slow
@pytest.mark.parametrize("sort", ["created_at", "-created_at"])
async def test_rows_of_the_same_instant_come_once_each_across_batches(
    services: Services, as_ana: httpx.AsyncClient, ana: Person, sort: str
) -> None:
    rows = await fill(services, ana.id, (f"{number}" for number in range(2500)))
    instant = {"$set": {"created_at": datetime(2026, 1, 1, tzinfo=UTC)}}
    await services.conversations.messages.collection.update_many({}, instant)

    table = read_csv((await export(as_ana, "messages", sort=sort, columns="id,seq")).content)
    ids = [str(row["_id"]) for row in rows]
    assert column(table, "Id") == (ids if sort == "created_at" else ids[::-1])
