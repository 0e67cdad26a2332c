"""Workbooks, opened again with openpyxl, hold every value."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, date, datetime
from io import BytesIO
from typing import Any, get_args
from zipfile import ZipFile

import openpyxl
import pytest
from bson import ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from app.kit.export import FORMATS, ExportOptions, Heading, Row, xlsx_rows, xlsx_writer
from app.kit.export.xlsx_cell import CELL_UNITS, clean, escape, parts, unescape
from app.kit.resource import Kind

CONTENT = Heading("content", "Content")
HOSTILE = [
    "=1+1", "{=1+1}", "+1", "-1", "@SUM(A1)", "\t=1", "http://example.org/", "mailto:a@b.c", "00123", "1e5", "TRUE",
    "#N/A", "2026-01-01", "'quoted'", '"', "<&>]]>", " led and trailed ", " ", "one\ntwo\n", "汉字かな한글",
    "🙂👩‍👩‍👧‍👦 e\u0301", "_x0041_", "_x005F_", "_x005F_x0041_", "_x0041_x0042_", "_X0041_",
    "x005F_", "\u0085\u2028\u00a0", "\x7f",
]  # fmt: skip


async def export(
    headings: Sequence[Heading],
    *batches: Sequence[Row],
    about: Mapping[str, str] | None = None,
    options: ExportOptions | None = None,
) -> Any:
    """The workbook, opened."""
    return openpyxl.load_workbook(BytesIO(await file(headings, *batches, about=about, options=options)))


async def file(
    headings: Sequence[Heading],
    *batches: Sequence[Row],
    about: Mapping[str, str] | None = None,
    options: ExportOptions | None = None,
) -> bytes:
    async def source() -> AsyncIterator[Sequence[Row]]:
        for batch in batches:
            yield batch

    chunks = FORMATS["xlsx"].stream(headings, source(), about or {}, options or ExportOptions())
    return b"".join([chunk async for chunk in chunks])


def values(sheet: Any) -> list[list[Any]]:
    return [[unescape(cell) if isinstance(cell, str) else cell for cell in row] for row in sheet.values]


async def test_values_are_typed_cells() -> None:
    row = (
        ObjectId("507f1f77bcf86cd799439011"),
        "00123",
        10**15 - 1,
        0.1 + 0.2,
        True,
        datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
        date(1900, 3, 1),
        {"a": [1, ObjectId("507f1f77bcf86cd799439011")]},
        ["x", "é"],
    )
    kinds: list[Kind] = ["id", "text", "integer", "number", "boolean", "instant", "date", "json", "texts"]
    assert set(kinds) == set(get_args(Kind))
    book = await export([Heading(kind, kind.title(), kind) for kind in kinds], [row], [[None] * len(kinds)])

    header, cells = list(book["Data"].rows)[:2]
    assert [cell.value for cell in header] == [kind.title() for kind in kinds]
    assert [cell.value for cell in cells] == [
        "507f1f77bcf86cd799439011",
        "00123",
        10**15 - 1,
        0.1 + 0.2,
        True,
        datetime(2026, 1, 2, 3, 4, 5, 678000),  # noqa: DTZ001 - a sheet knows no zones
        datetime(1900, 3, 1),  # noqa: DTZ001
        '{"a":[1,"507f1f77bcf86cd799439011"]}',
        '["x","é"]',
    ]
    assert [cell.data_type for cell in cells] == list("ssnnbddss")
    assert cells[5].number_format == "yyyy-mm-dd hh:mm:ss"
    assert cells[6].number_format == "yyyy-mm-dd"
    assert book["About"]["B2"].value == 2


async def test_what_a_sheet_cannot_hold_as_a_number_is_text() -> None:
    headings = [Heading("n", "Number", "number"), Heading("d", "Date", "date"), Heading("i", "Instant", "instant")]
    early = datetime(1900, 2, 28, tzinfo=UTC)
    rows: list[Row] = [
        (10**15, date(1815, 12, 10), early),
        (-(2**60), "1815-12-10", None),
        (float("nan"), "2026-02-30", 5),
        (early, "soon", 0.5),
    ]
    book = await export(headings, rows)
    assert values(book["Data"])[1:] == [
        ["1000000000000000", "1815-12-10", "1900-02-28T00:00:00.000Z"],
        ["-1152921504606846976", "1815-12-10", None],
        ["nan", "2026-02-30", "5"],
        ["1900-02-28T00:00:00.000Z", "soon", "0.5"],
    ]


async def test_stored_dates_are_real_dates() -> None:
    book = await export([Heading("birth_date", "Born", "date")], [("1975-05-20",)])
    assert book["Data"]["A2"].value == datetime(1975, 5, 20)  # noqa: DTZ001


async def test_hostile_text_stays_text() -> None:
    book = await export([CONTENT], [(text,) for text in HOSTILE])
    cells = [row[0] for row in book["Data"].iter_rows(min_row=2)]
    assert [unescape(cell.value) for cell in cells] == HOSTILE
    assert {cell.data_type for cell in cells} == {"s"}
    assert not any(cell.hyperlink for cell in cells)


async def test_illegal_characters_go_and_line_breaks_become_line_feeds() -> None:
    book = await export([CONTENT], [("a\0b\x0b\x1f\ufffe\uffffc\ud800",), ("one\r\ntwo\rthree\n",)])
    assert values(book["Data"])[1:] == [["abc\ufffd"], ["one\ntwo\nthree\n"]]


@settings(deadline=None, max_examples=100)
@given(rows=st.lists(st.tuples(st.text(), st.none() | st.booleans() | st.floats(-1e9, 1e9) | st.text()), max_size=30))
async def test_any_value_survives(rows: list[tuple[Any, ...]]) -> None:
    book = await export([CONTENT, Heading("other", "Other", "json")], rows)
    expected = [[clean(cell) or None if isinstance(cell, str) else cell for cell in row] for row in rows]
    read = values(book["Data"])[1:]
    assert read + [[None, None]] * (len(expected) - len(read)) == expected
    assert book["About"]["B2"].value == len(rows)


@pytest.mark.parametrize("character", ["x", "漢", "🙂"])
async def test_long_texts_continue_in_further_columns(character: str) -> None:
    long, longest = "a" + character * CELL_UNITS, "=" + character * CELL_UNITS * 2
    headings = [Heading("a", "A"), CONTENT, Heading("b", "Content (2)"), Heading("c", "C", "integer")]
    book = await export(headings, [("1", "short", "2", 3)], [("1", long, "2", 3), ("1", longest, "2", 3)])

    header, *rows = values(book["Data"])
    further = len(parts(longest)) - 1
    assert header == ["A", "Content", *[f"Content ({n})" for n in range(3, 3 + further)], "Content (2)", "C"]
    assert [row[-2:] for row in rows] == [["2", 3]] * 3
    texts = ["".join(cell or "" for cell in row[1:-2]) for row in rows]
    assert texts == ["short", long, longest]
    assert all(len((cell or "").encode("utf-16-le")) <= CELL_UNITS * 2 for row in rows for cell in row[1:-2])


async def test_escapes_do_not_count_against_the_limit_of_a_cell() -> None:
    text = ("_x0041_" * CELL_UNITS)[:CELL_UNITS]
    book = await export([CONTENT], [(text,)])
    assert values(book["Data"]) == [["Content"], [text]]


async def test_a_full_sheet_is_followed_by_another() -> None:
    options = ExportOptions(sheet_name="Messages", sheet_rows=10)
    book = await export([Heading("n", "N", "integer")], [(n,) for n in range(12)], [(n,) for n in range(12, 19)],
                        options=options)  # fmt: skip
    assert book.sheetnames == ["Messages", "Messages (2)", "Messages (3)", "About"]
    assert [row[0] for sheet in book.worksheets[:-1] for row in values(sheet)[1:]] == list(range(19))
    assert [sheet["A1"].value for sheet in book.worksheets[:-1]] == ["N", "N", "N"]
    assert [sheet.auto_filter.ref for sheet in book.worksheets] == ["A1:A10", "A1:A10", "A1:A2", None]
    full = await export([Heading("n", "N", "integer")], [(n,) for n in range(9)], options=options)
    assert full.sheetnames == ["Messages", "About"]


async def test_a_sheet_of_much_text_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx_writer, "SHEET_BYTES", 100_000)
    rows = [("x" * 1000, n) for n in range(600)]
    book = await export([CONTENT, Heading("n", "N", "integer")], rows[:250], rows[250:])
    assert book.sheetnames == ["Data", "Data (2)", "Data (3)", "About"]
    assert [row[1] for sheet in book.worksheets[:-1] for row in values(sheet)[1:]] == list(range(600))
    assert book["About"]["B2"].value == 600


async def test_rows_of_long_texts_are_made_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["x", "y" * CELL_UNITS * 3, "&" * CELL_UNITS, "z", "w" * (CELL_UNITS + 1)]
    rows = [(text, number) for number, text in enumerate(texts)]
    together = await file([CONTENT, Heading("n", "N", "integer")], rows)
    monkeypatch.setattr(xlsx_rows, "BLOCK_CHARACTERS", 1000)
    assert await file([CONTENT, Heading("n", "N", "integer")], rows) == together


async def test_columns_beyond_z_move_behind_a_long_text() -> None:
    headings = [Heading(f"c{n}", f"C{n}") for n in range(60)]
    short = [f"{n}" for n in range(60)]
    long = [text if n != 25 else "x" * (CELL_UNITS * 2 + 1) for n, text in enumerate(short)]
    sheet = (await export(headings, [short], [long], [[None] * 60, short]))["Data"]
    assert [cell.value for cell in sheet[1]][24:30] == ["C24", "C25", "C25 (2)", "C25 (3)", "C26", "C27"]
    assert [cell.value for cell in sheet[5]] == [*short[:26], None, None, *short[26:]]
    assert [cell.value for cell in sheet[3]][28:] == short[26:]
    assert sheet.dimensions == "A1:BJ5"


async def test_equal_rows_are_equal_files() -> None:
    """Byte by byte, whenever they are written: a checksum tells whether a file is the one that it should be."""
    rows: list[Row] = [(text, n) for n, text in enumerate(HOSTILE)]
    written = await file([CONTENT, Heading("n", "N", "integer")], rows, about={"Title": "Messages"})
    with ZipFile(BytesIO(written)) as archive:
        assert {each.date_time for each in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert not any(each.filename.startswith("docProps/") for each in archive.infolist())
    assert await file([CONTENT, Heading("n", "N", "integer")], rows, about={"Title": "Messages"}) == written


ANYTHING = st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=5)


@settings(deadline=None, max_examples=100)
@given(rows=st.lists(st.lists(ANYTHING, min_size=30, max_size=30), max_size=5))
async def test_values_of_several_types_stand_in_their_columns(rows: list[list[Any]]) -> None:
    book = await export([Heading(f"c{n}", f"C{n}", "json") for n in range(30)], rows)
    expected = [[clean(cell) or None if isinstance(cell, str) else cell for cell in row] for row in rows]
    read = values(book["Data"])[1:]
    assert read + [[None] * 30] * (len(expected) - len(read)) == expected


async def test_an_empty_export_is_a_header() -> None:
    book = await export([CONTENT, Heading("at", "At", "instant")])
    assert values(book["Data"]) == [["Content", "At"]]
    assert values(book["About"]) == [["Item", "Value"], ["Rows", 0], ["Time zone", "UTC"]]


async def test_the_sheet_about_comes_last_and_counts() -> None:
    about = {"Title": "=Messages", "Filter": "x" * (CELL_UNITS + 1)}
    book = await export([CONTENT], [("a",)], [("b",)], about=about)
    assert book.sheetnames[-1] == "About"
    assert values(book["About"]) == [
        ["Item", "Value", "Value (2)"],
        ["Title", "=Messages", None],
        ["Filter", "x" * CELL_UNITS, "x"],
        ["Rows", 2, None],
        ["Time zone", "UTC", None],
    ]
    assert book["About"]["B2"].data_type == "s"


def look(cell: Any) -> Any:
    alignment = cell.alignment.vertical, cell.alignment.horizontal, cell.alignment.indent
    color = cell.border.bottom.color
    return (cell.value, cell.data_type, cell.number_format, alignment, color and color.rgb) if cell.has_style else None


def picture(book: Any) -> dict[str, Any]:
    """Everything a reader sees of a workbook."""
    return {
        sheet.title: {
            "cells": [[look(cell) for cell in row] for row in sheet.rows],
            "header": [(cell.font.bold, cell.font.color.rgb, cell.fill.fgColor.rgb) for cell in sheet[1]],
            "height": sheet.row_dimensions[1].height,
            "print": (sheet.page_setup.orientation, sheet.page_setup.fitToHeight, sheet.print_title_rows),
            "grid": sheet.sheet_view.showGridLines,
            "frozen": sheet.freeze_panes,
            "filter": sheet.auto_filter.ref,
            "widths": {
                number: (columns.width, columns.border.bottom.color.rgb)
                for columns in sheet.column_dimensions.values()
                for number in range(columns.min, columns.max + 1)
            },
        }
        for sheet in book.worksheets
    }


async def test_a_workbook_is_pleasant_to_read() -> None:
    headings = [
        CONTENT,
        Heading("seq", "Seq", "integer"),
        Heading("at", "At", "instant"),
        Heading("ok", "OK", "boolean"),
    ]
    rows: list[Row] = [(text, n, datetime(2026, 1, 1, n % 24, tzinfo=UTC), True) for n, text in enumerate(HOSTILE)]
    rows.append(("z" * 40_000, None, None, None))
    book = picture(await export(headings, rows, about={"Title": "Messages"}))

    data = book["Data"]
    top, rule = ("top", None, 0), "FFD5DDE3"
    assert data["cells"][1] == [
        ("=1+1", "s", "General", top, rule),
        None,
        (0, "n", "General", ("top", "right", 1), rule),
        (datetime(2026, 1, 1), "d", "yyyy-mm-dd hh:mm:ss", ("top", "left", 0), rule),  # noqa: DTZ001
        (True, "b", "General", ("top", "left", 0), rule),
    ]
    assert {width[1] for width in data["widths"].values()} == {rule}
    assert [sheet["grid"] for sheet in book.values()] == [False, False]
    assert book["About"]["cells"][1][1] == ("Messages", "s", "General", ("top", "left", 0), rule)
    assert data["header"] == [(True, "FFFFFFFF", "FF2F4858")] * 5
    assert data["height"] == 21
    assert data["print"] == ("landscape", 0, "$1:$1")
    assert data["frozen"] == "A2"
    assert data["filter"] == f"A1:E{len(rows) + 1}"
    assert [int(width) for width, _ in data["widths"].values()] == [64, 64, 7, 22, 8]


async def test_columns_are_as_wide_as_their_first_rows_need() -> None:
    headings = [
        Heading("id", "Id", "id"),
        Heading("role", "Role"),
        Heading("title", "标题"),
        Heading("content", "Content"),
        Heading("cost", "Cost of the answer", "number"),
        Heading("at", "At", "instant"),
        Heading("note", "N"),
    ]
    at = datetime(2026, 1, 1, tzinfo=UTC)
    row = (ObjectId(), "assistant", "恋恋笔记本", "short\n" + "x" * 500, 0.5, at, "")
    late = (ObjectId(), "assistant and more", None, None, None, None, None)
    book = await export(headings, [row] * 1000, [late])

    found = [int(column.width) for column in expanded(book["Data"])]
    assert found == [26, 11, 12, 64, 22, 22, 6]


def expanded(sheet: Any) -> list[Any]:
    """The dimensions of each column; a file may have one for neighbours that are alike."""
    dimensions = sorted(sheet.column_dimensions.values(), key=lambda each: each.min)
    return [each for each in dimensions for _ in range(each.min, each.max + 1)]


@given(st.lists(st.sampled_from(["_", "x0041_", "_x0041_", "_x005F_", "_x005f_", "x005F_", "A"])).map("".join))
def test_escapes_are_undone(text: str) -> None:
    assert unescape(escape(text)) == text
    assert re.sub("_x([0-9A-Fa-f]{4})_", lambda code: chr(int(code[1], 16)), escape(text)) == text, "as Excel reads it"


@pytest.mark.parametrize("name", ["", "a/b", "'a", "About", "history", "x" * 25, "a\nb"])
def test_names_that_no_sheet_may_have_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a sheet"):
        ExportOptions(sheet_name=name)


@pytest.mark.parametrize("rows", [1, 1_048_577])
def test_sheets_have_excels_limit(rows: int) -> None:
    with pytest.raises(ValueError, match="a sheet has 2 to 1048576 rows"):
        ExportOptions(sheet_rows=rows)
