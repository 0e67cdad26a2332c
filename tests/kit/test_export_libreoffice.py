"""A workbook opened by LibreOffice, saved again and converted to CSV, says the same: no cell is reinterpreted."""

import asyncio
import csv
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from app.kit.export import FORMATS, ExportOptions, Heading, Row
from app.kit.export.xlsx_cell import unescape
from tests.kit.hostile_values import TEXTS

SOFFICE = shutil.which("soffice")
HEADINGS = [
    Heading("seq", "Number", "integer"),
    Heading("content", "Content"),
    Heading("cost", "Cost", "number"),
    Heading("at", "Created", "instant"),
    Heading("day", "Day", "date"),
    Heading("ok", "OK", "boolean"),
]
SAVED_WRONG = "_x005F_x0041_"
"""LibreOffice reads it right, as its CSV shows, but 7.4 saves it with one escape too few."""
ROWS = [each for each in TEXTS if each.value is None or len(each.value) <= 40_000]
AT = datetime(2026, 10, 25, 1, 30, 15, 250000, UTC)
TRUTHS = {"=TRUE()": True, "=FALSE()": False}
FIRST_SHEET_AS_CSV = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false,false,false,1"
"""LibreOffice's tokens for commas, double quotes, UTF-8, and values as their cells show them."""
CSV_WITH_FORMULAS = "--infilter=CSV:44,34,76,1,,0,false,true,false,false,false,-1,true"
"""Likewise to read a CSV: numbers and dates recognized, formulas run."""
Convert = Callable[..., Awaitable[Path]]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SOFFICE, reason="needs LibreOffice Calc (soffice on PATH)"),
]


@pytest.fixture
async def workbook(tmp_path: Path) -> Path:
    """The hostile texts beside numbers, times, dates and truth values."""
    path = tmp_path / "book.xlsx"

    async def rows() -> AsyncIterator[Sequence[Row]]:
        yield [(number, each.value, number / 8, AT, "1975-05-20", number % 2 == 0) for number, each in enumerate(ROWS)]

    chunks = FORMATS["xlsx"].stream(HEADINGS, rows(), {"Title": "=1+1"}, ExportOptions(sheet_name="Messages"))
    data = b"".join([chunk async for chunk in chunks])
    await asyncio.to_thread(path.write_bytes, data)
    return path


@pytest.fixture(scope="module")
def convert(tmp_path_factory: pytest.TempPathFactory) -> Convert:
    """Convert a file by LibreOffice, with a profile of its own that takes some seconds to make once."""
    return partial(converted, f"-env:UserInstallation=file://{tmp_path_factory.mktemp('libreoffice')}")


async def converted(profile: str, source: Path, filter: str, folder: str, *options: str) -> Path:
    """What LibreOffice makes of the file, without a window."""
    assert SOFFICE
    output = source.parent / folder
    process = await asyncio.create_subprocess_exec(
        SOFFICE, "--headless", profile, *options, "--convert-to", filter, "--outdir", str(output), str(source),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    async with asyncio.timeout(90):
        assert await process.wait() == 0
    [made] = output.iterdir()
    return made


def picture(path: Path, text: Callable[[str], str]) -> dict[str, list[list[Any]]]:
    book = openpyxl.load_workbook(path)
    return {sheet.title: [[value(cell, text) for cell in row] for row in sheet.rows] for sheet in book.worksheets}


def value(cell: Any, text: Callable[[str], str]) -> Any:
    """LibreOffice keeps a truth value as a formula, and nothing else may be one."""
    if cell.data_type == "f" and cell.value in TRUTHS:
        return TRUTHS[cell.value]
    assert cell.data_type not in "fe", cell
    return text(cell.value) if isinstance(cell.value, str) else cell.value


async def test_a_workbook_saved_by_libreoffice_holds_the_same_cells(workbook: Path, convert: Convert) -> None:
    saved = await convert(workbook, "xlsx", "saved")
    before, after = picture(workbook, unescape), picture(saved, str)  # LibreOffice shares its strings
    assert list(after) == list(before) == ["Messages", "About"]
    for name, rows in before.items():
        for number, (row, again) in enumerate(zip(rows, after[name], strict=True), 1):
            assert again == row or SAVED_WRONG in row, (name, number)

    sheet = openpyxl.load_workbook(saved)["Messages"]
    assert sheet.auto_filter.ref == f"A1:G{len(ROWS) + 1}"
    assert sheet["A1"].font.bold
    assert sheet["A1"].fill.fgColor.rgb == "FF2F4858"


async def test_a_workbook_as_csv_shows_what_was_exported(workbook: Path, convert: Convert) -> None:
    made = await convert(workbook, FIRST_SHEET_AS_CSV, "csv")
    text = await asyncio.to_thread(made.read_bytes)
    header, *rows = csv.reader(StringIO(text.decode(), newline=""))
    assert header == ["Number", "Content", "Content (2)", "Cost", "Created", "Day", "OK"]
    assert ["".join(row[1:3]) for row in rows] == [each.expected("xlsx") or "" for each in ROWS]
    assert {tuple(row[4:6]) for row in rows} == {("2026-10-25 01:30:15", "1975-05-20")}
    assert [row[0] for row in rows] == [str(number) for number in range(len(ROWS))]
    assert [row[6] for row in rows[:2]] == ["TRUE", "FALSE"]


async def test_no_text_of_a_csv_is_run_as_a_formula(tmp_path: Path, convert: Convert) -> None:
    async def rows() -> AsyncIterator[Sequence[Row]]:
        yield [(each.value,) for each in ROWS]

    for raw, formulas in ((True, True), (False, False)):
        path = tmp_path / f"raw-{raw}.csv"
        chunks = FORMATS["csv"].stream([HEADINGS[1]], rows(), {}, ExportOptions(raw=raw))
        await asyncio.to_thread(path.write_bytes, b"".join([chunk async for chunk in chunks]))
        made = await convert(path, "xlsx", path.stem, CSV_WITH_FORMULAS)
        cells = openpyxl.load_workbook(made).worksheets[0]["A"]
        assert any(cell.data_type == "f" for cell in cells) is formulas
