"""CSV read back with the standard library's reader says what was written, and no cell of it is a formula."""

import csv
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from io import StringIO

import pytest
from bson import Int64, ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from app.kit.export import FORMATS, ExportOptions, Heading, Row
from app.kit.resource import Kind

BOM = b"\xef\xbb\xbf"
CONTENT = Heading("content", "Content")


async def source(batches: Sequence[Sequence[Row]]) -> AsyncIterator[Sequence[Row]]:
    for batch in batches:
        yield batch


async def export(headings: Sequence[Heading], *batches: Sequence[Row], raw: bool = False) -> bytes:
    chunks = FORMATS["csv"].stream(headings, source(batches), {}, ExportOptions(raw=raw))
    return b"".join([chunk async for chunk in chunks])


def read(data: bytes) -> list[list[str]]:
    return list(csv.reader(StringIO(data.decode("utf-8-sig"), newline=""), strict=True))


async def test_values_are_typed_text() -> None:
    kinds: tuple[Kind, ...] = (
        "id",
        "integer",
        "number",
        "boolean",
        "boolean",
        "instant",
        "date",
        "json",
        "texts",
        "text",
    )
    row = (
        ObjectId("507f1f77bcf86cd799439011"),
        Int64(-5),
        -0.1,
        True,
        False,
        datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=timezone(timedelta(hours=1))),
        date(1815, 12, 10),
        {"id": ObjectId("507f1f77bcf86cd799439011"), "at": datetime(2026, 1, 2, tzinfo=UTC), "day": date(2026, 1, 2)},
        ["é", "b,c"],
        None,
    )
    data = await export([Heading(str(i), f"L{i}", kind) for i, kind in enumerate(kinds)], [row])

    identifier, *scalars, nested, texts, nothing = read(data)[1]
    assert identifier == "507f1f77bcf86cd799439011"
    assert scalars == ["-5", "-0.1", "true", "false", "2026-01-02T02:04:05.006Z", "1815-12-10"]
    assert json.loads(nested) == {"id": identifier, "at": "2026-01-02T00:00:00.000Z", "day": "2026-01-02"}
    assert texts == '["é","b,c"]'
    assert nothing == ""


async def test_lines_end_with_crlf_and_quotes_are_doubled() -> None:
    data = await export([Heading("a", "A"), Heading("b", "B")], [('say "hi"', "x,y"), ("two\nlines", " ")])
    assert data == BOM + b'A,B\r\n"say ""hi""","x,y"\r\n"two\nlines", \r\n'


async def test_an_empty_export_is_its_header() -> None:
    assert await export([CONTENT]) == BOM + b"Content\r\n"


async def test_the_header_comes_with_the_first_rows_before_others_are_asked_for() -> None:
    asked = 0

    async def rows() -> AsyncIterator[Sequence[Row]]:
        nonlocal asked
        while True:
            asked += 1
            yield [("x",)]

    chunks = FORMATS["csv"].stream([CONTENT], rows(), {}, ExportOptions())
    assert await anext(chunks) == BOM + b"Content\r\nx\r\n"
    assert asked == 1
    assert await anext(chunks) == b"x\r\n"
    await chunks.aclose()


async def test_a_row_of_one_empty_cell_is_a_row() -> None:
    assert read(await export([CONTENT], [("",), (None,), ("x",)]))[1:] == [[""], [""], ["x"]]


@pytest.mark.parametrize(
    "first",
    ["=", "+", "-", "@", "\t", "\r", "\0", "＝", "＋", "－", "＠", '"=', '""@', " =", "\n=", "\u3000\x0b+", '" @'],
)
async def test_formulas_are_guarded_unless_raw(first: str) -> None:
    text = f"{first}cmd|' /C calc'!A0"
    assert read(await export([CONTENT], [(text,)]))[1] == [f"'{text}"]
    raw = await export([CONTENT], [(text,)], raw=True)
    assert not raw.startswith(BOM)
    assert read(raw)[1] == [text]


async def test_labels_are_guarded_like_cells() -> None:
    assert read(await export([Heading("a", "=A1")]))[0] == ["'=A1"]


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(), st.text()), max_size=20))
async def test_any_text_survives(rows: list[tuple[str, str]]) -> None:
    headings = [Heading("a", "A"), Heading("b", "B")]
    assert read(await export(headings, rows, raw=True))[1:] == [list(row) for row in rows]

    for row, guarded in zip(rows, read(await export(headings, rows))[1:], strict=True):
        for text, cell in zip(row, guarded, strict=True):
            assert cell in (text, f"'{text}")
            assert cell.lstrip('"')[:1] not in tuple("=+-@\t\r\0＝＋－＠")


async def test_large_batches_come_in_bounded_pieces() -> None:
    rows = [(f"{number}" + "漢" * (300 << 10),) for number in range(20)]
    chunks = FORMATS["csv"].stream([CONTENT], source([rows]), {}, ExportOptions())
    pieces = [chunk async for chunk in chunks]
    assert max(map(len, pieces)) < 5 << 20
    csv.field_size_limit(1 << 20)
    assert read(b"".join(pieces))[1:] == [list(row) for row in rows]


async def test_what_has_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="type object cannot be exported"):
        await export([CONTENT], [(object(),)])
    with pytest.raises(ValueError, match="no time zone"):
        await export([CONTENT], [(datetime(2026, 1, 1),)])  # noqa: DTZ001


async def test_headings_must_be_given_and_differ() -> None:
    for headings in ([], [Heading("a", "A"), Heading("b", "A")]):
        with pytest.raises(ValueError, match="must be given and differ"):
            FORMATS["csv"].stream(headings, source([]), {}, ExportOptions())
