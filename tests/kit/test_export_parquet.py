"""Parquet files read back with pyarrow: typed, complete, in bounded groups, and with what they say about themselves."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from io import BytesIO
from itertools import count
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bson import Int64, ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from app.kit.errors import Invalid
from app.kit.export import FORMATS, ExportOptions, Heading, Row, parquet_file, parquet_writer
from app.kit.resource import Kind

CONTENT = Heading("content", "Content")
SEQ = Heading("seq", "Number", "integer")


async def export(
    headings: Sequence[Heading],
    *batches: Sequence[Row],
    about: Mapping[str, str] | None = None,
    options: ExportOptions | None = None,
) -> pq.ParquetFile:
    async def source() -> AsyncIterator[Sequence[Row]]:
        for batch in batches:
            yield batch

    chunks = FORMATS["parquet"].stream(headings, source(), about or {}, options or ExportOptions())
    return pq.ParquetFile(BytesIO(b"".join([chunk async for chunk in chunks])))


def columns(file: pq.ParquetFile) -> dict[str, list[Any]]:
    return dict(file.read().to_pydict())


async def test_values_are_typed_columns() -> None:
    identifier = ObjectId("507f1f77bcf86cd799439011")
    instant = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
    table: list[tuple[Kind, pa.DataType, Any, Any]] = [
        ("id", pa.string(), identifier, str(identifier)),
        ("text", pa.string(), "00123", "00123"),
        ("texts", pa.list_(pa.string()), ["x", "é"], ["x", "é"]),
        ("integer", pa.int64(), Int64(2**63 - 1), 2**63 - 1),
        ("number", pa.float64(), 0.1, 0.1),
        ("boolean", pa.bool_(), False, False),
        ("instant", pa.timestamp("ms", "UTC"), instant, instant),
        ("date", pa.date32(), "1815-12-10", date(1815, 12, 10)),
        ("json", pa.string(), {"a": [1, identifier]}, f'{{"a":[1,"{identifier}"]}}'),
    ]
    headings = [Heading(f"the.{kind}", kind.title(), kind) for kind, *_ in table]
    file = await export(headings, [tuple(value for *_, value, _ in table)], [[None] * len(table)])

    assert file.schema_arrow.names == [heading.name for heading in headings]
    assert file.schema_arrow.types == [wanted for _, wanted, *_ in table]
    assert columns(file) == {f"the.{kind}": [wanted, None] for kind, _, _, wanted in table}
    assert file.schema_arrow.field("the.id").metadata[b"label"] == b"Id"
    assert file.metadata.row_group(0).column(1).compression == "ZSTD"


async def test_instants_stay_utc_and_are_shown_in_the_zone() -> None:
    instant = datetime(2026, 1, 1, 23, tzinfo=UTC)
    file = await export([Heading("at", "At", "instant")], [(instant,)], options=ExportOptions(tz="Asia/Shanghai"))

    assert file.schema_arrow.field("at").type == pa.timestamp("ms", "Asia/Shanghai")
    [found] = columns(file)["at"]
    assert found == instant
    assert found.isoformat() == "2026-01-02T07:00:00+08:00"


async def test_the_file_tells_about_itself() -> None:
    about = {"Title": "Verbatim: messages", "Filter": "q=恋恋\ud83d"}
    file = await export([CONTENT], [("a",), ("b",)], [("c",)], about=about, options=ExportOptions(tz="Europe/Berlin"))
    own = {key.decode(): value.decode() for key, value in file.metadata.metadata.items() if b"verbatim:" in key}

    assert own == {
        "verbatim:Title": "Verbatim: messages",
        "verbatim:Filter": "q=恋恋\ufffd",
        "verbatim:Rows": "3",
        "verbatim:Time zone": "Europe/Berlin",
    }
    assert file.metadata.num_rows == 3


async def test_an_empty_export_has_its_columns() -> None:
    file = await export([CONTENT, SEQ])
    assert file.schema_arrow.names == ["content", "seq"]
    assert file.metadata.num_rows == 0


MISFITS: list[tuple[Kind, Any, Any, str]] = [
    ("date", "1815-12-10", "2026-02-30", "2026-02-30"),
    ("integer", 7, 2**63, str(2**63)),
    ("integer", 7, 1.5, "1.5"),
    ("integer", 7, True, "true"),
    ("integer", 7, "seven", "seven"),
    ("number", 0.1, 2**60 + 1, str(2**60 + 1)),
    ("number", 0.1, "0.1 USD", "0.1 USD"),
    ("boolean", True, 1, "1"),
    ("instant", datetime(2026, 1, 1, tzinfo=UTC), "yesterday", "yesterday"),
    ("instant", datetime(2026, 1, 1, tzinfo=UTC), 5, "5"),
    ("texts", ["a", "é"], "a", "a"),
    ("texts", ["a", "é"], ["a", 1], '["a",1]'),
]
FIRST = {"date": "1815-12-10", "integer": "7", "number": "0.1", "boolean": "true", "texts": '["a","é"]',
         "instant": "2026-01-01T00:00:00.000Z"}  # fmt: skip


@pytest.mark.parametrize(("kind", "usual", "odd", "text"), MISFITS)
async def test_a_value_without_a_place_makes_its_column_text(
    kind: Kind, usual: Any, odd: Any, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where groups of rows with the usual type are in the file already, and others wait to be."""
    monkeypatch.setattr(parquet_file, "GROUP_ROWS", 2)
    headings = [SEQ, Heading("value", "Value", kind), Heading("at", "At", "instant")]
    at = datetime(2026, 1, 1, tzinfo=UTC)
    before = [[(n, usual, at)] for n in range(3)]
    file = await export(headings, *before, [(3, None, at), (4, odd, at), (5, usual, None)], about={"Title": "x"})

    assert columns(file) == {
        "seq": [0, 1, 2, 3, 4, 5],
        "value": [FIRST[kind]] * 3 + [None, text, FIRST[kind]],
        "at": [at] * 5 + [None],
    }
    assert file.metadata.metadata[b"verbatim:Rows"] == b"6"
    assert file.num_row_groups == 2


async def test_several_columns_become_text_one_after_the_other() -> None:
    headings = [SEQ, Heading("day", "Day", "date")]
    file = await export(headings, [(1, "2026-01-01")], [(2**63, "2026-01-02")], [(3, "soon")], [("4", None)])
    assert columns(file) == {
        "seq": ["1", str(2**63), "3", "4"],
        "day": ["2026-01-01", "2026-01-02", "soon", None],
    }


async def test_what_is_no_value_is_refused() -> None:
    with pytest.raises(TypeError, match="type object cannot be exported"):
        await export([SEQ], [(object(),)])
    with pytest.raises(ValueError, match="no time zone"):
        await export([Heading("at", "At", "instant")], [(datetime(2026, 1, 1),)])  # noqa: DTZ001
    with pytest.raises(ValueError, match="must be given and differ"):
        await export([SEQ, Heading("seq", "Other")])


Scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.dates())


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.tuples(st.text(), st.lists(st.text()) | st.none(), Scalars), max_size=20))
async def test_any_value_survives(rows: list[tuple[Any, ...]]) -> None:
    file = await export([CONTENT, Heading("tags", "Tags", "texts"), SEQ], rows)
    found = columns(file)
    assert found["content"] == [row[0] for row in rows]
    assert found["tags"] == [row[1] for row in rows]
    assert [value is None for value in found["seq"]] == [row[2] is None for row in rows]
    if all(type(row[2]) is int and abs(row[2]) < 2**63 for row in rows):
        assert found["seq"] == [row[2] for row in rows]


async def test_groups_end_by_bytes_before_a_long_batch_ends() -> None:
    rows = [(f"{number} " + "漢" * 1000, number) for number in range(10_000)]
    file = await export([CONTENT, SEQ], rows)
    sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]

    assert sum(sizes) == len(rows)
    assert max(sizes) * 3000 < 2 * parquet_file.GROUP_BYTES
    assert columns(file)["content"] == [row[0] for row in rows]


async def test_groups_end_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_file, "GROUP_ROWS", 3)
    file = await export([SEQ], *[[(number,)] for number in range(8)])
    assert [file.metadata.row_group(number).num_rows for number in range(3)] == [3, 3, 2]


async def test_a_cancelled_export_stops_within_a_batch_that_would_never_end() -> None:
    loop, reading = asyncio.get_running_loop(), asyncio.Event()

    def rows() -> Iterator[Row]:
        for number in count():
            if number == 2 * parquet_file.SLICE_ROWS:
                loop.call_soon_threadsafe(reading.set)
            yield (number,)

    async def endless() -> AsyncIterator[Iterable[Row]]:
        yield rows()

    task = asyncio.ensure_future(anext(FORMATS["parquet"].stream([SEQ], endless(), {}, ExportOptions())))
    await reading.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


def test_the_error_without_pyarrow_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_writer, "IS_INSTALLED", False)

    async def nothing() -> AsyncIterator[Sequence[Row]]:
        yield []

    with pytest.raises(Invalid, match=r"pip install 'verbatim\[parquet\]'"):
        FORMATS["parquet"].stream([SEQ], nothing(), {}, ExportOptions())


WITHOUT_PYARROW = """
import sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = classmethod(lambda cls, name, *rest: None if name == "pyarrow" else find(name, *rest))

import app.kit.export
from app.kit.export import parquet_writer

print(parquet_writer.IS_INSTALLED, sorted(each.name for each in app.kit.export.FORMATS.values() if each.is_installed))
"""
LOADED = "import sys, app.kit.export; print('pyarrow' in sys.modules)"


@pytest.mark.slow
async def test_the_other_formats_neither_need_nor_load_pyarrow() -> None:
    async def run(code: str) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", code, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output.decode().strip()

    assert await run(WITHOUT_PYARROW) == "False ['csv', 'jsonl', 'xlsx']"
    assert await run(LOADED) == "False"
