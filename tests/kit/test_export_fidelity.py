"""The hostile corpus comes back from every format as stored or as documented, read by other people's readers."""

import csv
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import date, datetime, time
from io import BytesIO, StringIO
from math import isnan
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow.parquet as pq
import pytest
from python_calamine import CalamineWorkbook

from app.kit.export import FORMATS, ExportOptions, Heading, Row
from app.kit.export.xlsx_cell import unescape
from tests.kit.hostile_values import CORPUS, TEXTS, Hostile

NUMBER = Heading("number", "Number", "integer")


async def export(format: str, heading: Heading, rows: Sequence[Row], *, raw: bool = False) -> bytes:
    async def source() -> AsyncIterator[Sequence[Row]]:
        yield rows

    chunks = FORMATS[format].stream([NUMBER, heading], source(), {}, ExportOptions(raw=raw))
    return b"".join([chunk async for chunk in chunks])


def from_csv(data: bytes) -> list[Any]:
    csv.field_size_limit(1 << 24)
    return [row[1] for row in csv.reader(StringIO(data.decode("utf-8"), newline=""), strict=True)][1:]


def from_jsonl(data: bytes) -> list[Any]:
    return [json.loads(line)["value"] for line in data.split(b"\n")[:-1]]


def from_parquet(data: bytes) -> list[Any]:
    return list(pq.read_table(BytesIO(data)).column("value").to_pylist())


def from_openpyxl(data: bytes) -> list[Any]:
    cells = list(openpyxl.load_workbook(BytesIO(data))["Data"].iter_rows(min_row=2))
    assert not any(cell.data_type in "fe" or cell.hyperlink for row in cells for cell in row)
    return [
        joined([unescape(cell.value) if cell.data_type == "s" else cell.value for cell in row[1:]]) for row in cells
    ]


def from_calamine(data: bytes) -> list[Any]:
    rows = CalamineWorkbook.from_filelike(BytesIO(data)).get_sheet_by_name("Data").to_python()
    return [joined([midnight(cell) for cell in row[1:]]) for row in rows[1:]]


def midnight(cell: Any) -> Any:
    """calamine reads a time at midnight as a date."""
    return datetime.combine(cell, time()) if type(cell) is date else cell


def joined(cells: Sequence[Any]) -> Any:
    """The value of a row whose text may go on in further cells; an empty cell is None."""
    texts = [cell for cell in cells if cell not in (None, "")]
    if len(texts) > 1 or (texts and isinstance(texts[0], str)):
        return "".join(texts)
    return texts[0] if texts else None


def same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, float) and isnan(wanted):
        return isinstance(found, float) and isnan(found)
    return bool(found == wanted) and (isinstance(found, str) == isinstance(wanted, str))


READERS: Mapping[str, tuple[str, bool, Callable[[bytes], list[Any]]]] = {
    "csv": ("csv", False, from_csv),
    "raw": ("csv", True, from_csv),
    "jsonl": ("jsonl", False, from_jsonl),
    "parquet": ("parquet", False, from_parquet),
}
XLSX_READERS = {"openpyxl": from_openpyxl, "calamine": from_calamine}
values = pytest.mark.parametrize("hostile", CORPUS, ids=lambda each: f"{each.name} {each.value!r:.20}")


@pytest.mark.parametrize("reader", READERS)
@values
async def test_a_value_comes_back(hostile: Hostile, reader: str) -> None:
    format, raw, read = READERS[reader]
    data = await export(format, Heading("value", "Value", hostile.kind), [(1, hostile.value)], raw=raw)
    [found] = read(data)
    assert same(found, hostile.expected(reader))


@values
async def test_a_value_comes_back_from_a_workbook(hostile: Hostile) -> None:
    data = await export("xlsx", Heading("value", "Value", hostile.kind), [(1, hostile.value)])
    for name, read in XLSX_READERS.items():
        [found] = read(data)
        assert same(found, hostile.expected("xlsx")), name


@pytest.mark.parametrize("reader", [*READERS, *XLSX_READERS])
async def test_all_texts_come_back_from_one_file(reader: str) -> None:
    format, raw, read = READERS.get(reader) or ("xlsx", False, XLSX_READERS[reader])
    rows = [(number, each.value) for number, each in enumerate(TEXTS)]
    found = read(await export(format, Heading("value", "Value"), rows, raw=raw))
    wanted = [each.expected("xlsx" if format == "xlsx" else reader) for each in TEXTS]
    assert found == wanted


def test_the_guide_has_a_row_for_every_kind_of_value() -> None:
    guide = (Path(__file__).parents[2] / "docs/analysts.md").read_text()
    for name in {each.name for each in CORPUS}:
        assert f"\n| {name} |" in guide, name
