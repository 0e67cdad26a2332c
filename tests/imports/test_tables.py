"""Tables: columns found or named, values of every dialect, conversations brought together, and what is wrong told."""

import io
import json
import tracemalloc
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from app.imports import gathering, spool
from app.imports.mapping import parse_map
from app.imports.readers import Source, open_source
from app.imports.records import ImportedConversation, Record
from app.imports.streams import UnreadableSource
from app.kit.errors import Invalid

from .samples import bad, ids, line_of, only, read

HEADINGS = ("Conversation", "Role", "Content")
ROWS = (("c-1", "user", "Hi"), ("c-2", "user", "你好"), ("c-1", "assistant", "Hello"))
Cells = Iterable[Sequence[Any]]


def csv_of(rows: Cells, separator: str = ",") -> bytes:
    def quoted(cell: Any) -> str:
        return '"' + str(cell).replace('"', '""') + '"'

    return "".join(separator.join(map(quoted, row)) + "\r\n" for row in rows).encode()


def xlsx_of(*sheets: tuple[str, Cells]) -> bytes:
    book = openpyxl.Workbook(write_only=True)
    for title, rows in sheets:
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(list(row))
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def said(record: Record) -> list[tuple[str, str]]:
    assert isinstance(record, ImportedConversation), record
    return [(message.role, message.content) for message in record.messages]


@pytest.fixture
def mapped(tmp_path: Path) -> Any:
    """Opens a file with the columns that a client has named."""

    def open_it(data: bytes, *pairs: str, name: str = "table") -> Source:
        path = tmp_path / name
        path.write_bytes(data)
        return open_source(path, columns=parse_map(pairs))

    return open_it


@pytest.mark.parametrize(
    ("data", "format"),
    [
        (csv_of([HEADINGS, *ROWS]), "csv"),
        (csv_of([HEADINGS, *ROWS], ";"), "csv"),
        (csv_of([HEADINGS, *ROWS], "\t"), "csv"),
        (b"\xef\xbb\xbf" + csv_of([HEADINGS, *ROWS]), "csv"),
        (csv_of([HEADINGS, *ROWS], "\t").decode().encode("utf-16"), "csv"),
        (b"sep=|\r\n" + csv_of([HEADINGS, *ROWS], "|"), "csv"),
        (csv_of([HEADINGS, *ROWS]).replace(b"\r\n", b"\r"), "csv"),
        (xlsx_of(("Sheet", [HEADINGS, *ROWS])), "xlsx"),
        (xlsx_of(("Notes", [["only", "notes"], ["a", "b"]]), ("Sheet", [HEADINGS, *ROWS])), "xlsx"),
        (b"".join(line_of(dict(zip(("session_id", "speaker", "content"), row, strict=True))) for row in ROWS), "rows"),
    ],
    ids=["comma", "semicolon", "tab", "mark", "utf-16", "sep=", "cr", "xlsx", "sheets", "jsonl"],
)
def test_rows_of_one_conversation_come_together_wherever_they_stand(opened: Any, data: bytes, format: str) -> None:
    source = opened(data)
    first, second = read(source)

    assert source.format == format
    assert ids([first, second]) == ["c-1", "c-2"]
    assert said(first) == [("user", "Hi"), ("assistant", "Hello")]
    assert said(second) == [("user", "你好")]


def test_a_client_names_the_columns(mapped: Any) -> None:
    rows = [
        ("Thread no", "Who", "Said", "Text", "When", "Topic"),
        (7, "Customer", "ignored", 'one "mocha",\nplease', "1700000001.5", "Coffee"),
        (7, " AI ", "ignored", "1+1", "2023-11-14 22:13:20", ""),
    ]
    pairs = ("conversation=Thread no", "role=Who", "content=Text", "created_at=When", "title=Topic")
    for data in (csv_of(rows), xlsx_of(("S", rows))):
        source = mapped(data, *pairs)
        found = only(read(source))

        assert (found.source_id, found.title) == ("7", "Coffee")
        # The earlier one is first, although it stands below.
        assert said(found) == [("assistant", "1+1"), ("user", 'one "mocha",\nplease')]
        assert found.created_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
        assert source.columns["content"] == "Text"


def test_named_columns_of_json_lines_may_lie_within(mapped: Any) -> None:
    line = {"meta": {"chat": "c"}, "data": {"by": "user", "text": "deep"}}
    source = mapped(line_of(line), "conversation=meta.chat", "role=data.by", "content=data.text")
    assert said(only(read(source))) == [("user", "deep")]


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        (("text=Text",), "there is no field 'text'; there are id, conversation_id"),
        (("content",), "'content' is not field=heading"),
        (("content=a", "content=b"), "'content' is mapped twice"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(pairs: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(Invalid, match=sentence.replace("(", r"\(")):
        parse_map(pairs)


def test_a_column_that_is_not_there_is_told_with_those_that_are(mapped: Any) -> None:
    with pytest.raises(UnreadableSource, match="table has no column 'Nope' for content; its columns are Conversation"):
        mapped(csv_of([HEADINGS, *ROWS]), "content=Nope")
    with pytest.raises(UnreadableSource, match="no column for conversation_id and role"):
        mapped(csv_of([("Text", "Other"), ("a", "b")]))
    with pytest.raises(UnreadableSource, match="Sheet One of table has no column for conversation_id"):
        mapped(xlsx_of(("One", [("Text", "Role")]), ("Two", [("x", "y")])))


def test_a_bad_row_keeps_its_conversation_out_and_every_row_of_it_is_told(opened: Any) -> None:
    rows = [HEADINGS, *ROWS, ("c-1", "narrator", "Meanwhile"), ("", "user", "lost"), ("c-3", "user", "fine")]
    found = read(opened(csv_of(rows)))

    assert ids(found) == ["BAD", "BAD", "BAD", "BAD", "c-2", "c-3"]
    assert [(record.position, bad(record)) for record in found[:4]] == [
        (6, "The conversation is missing"),
        (5, "The role 'narrator' is none of system, user, assistant, tool"),
        (2, "Row 5 of the same conversation cannot be imported, so it waits with it"),
        (4, "Row 5 of the same conversation cannot be imported, so it waits with it"),
    ]
    assert found[1].raw == {"Conversation": "c-1", "Role": "narrator", "Content": "Meanwhile"}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("heading", "cell", "reason"),
    [
        ("Number", "two", "The number 'two' cannot be read as a whole number"),
        ("Timestamp", "yesterday", "The time 'yesterday' is neither ISO 8601 nor Unix seconds"),
        ("Model", "m" * 201, "The model has 201 characters"),
        ("Title", "t" * 501, "The title has 501 characters"),
    ],
)
def test_a_cell_that_cannot_be_used_is_told(opened: Any, heading: str, cell: str, reason: str) -> None:
    (found,) = read(opened(csv_of([(*HEADINGS, heading), ("c", "user", "hi", cell)])))
    assert bad(found).startswith(reason)


def test_broken_csv_spoils_the_row_it_stands_in(opened: Any) -> None:
    data = csv_of([HEADINGS, ROWS[0]]) + b'"c-1"x,"user","broken"\r\nc-4,user,too,many\r\n' + csv_of([ROWS[2]])
    found = read(opened(data))

    assert ids(found) == ["BAD", "BAD", "c-1"]
    assert bad(found[0]).startswith("The row is not valid CSV")
    assert bad(found[1]) == "The row has 4 cells, but there are 3 headings"


def test_bytes_that_are_not_utf_8_are_told(opened: Any) -> None:
    (found,) = read(opened(csv_of([HEADINGS]) + "c,user,Grüße\r\n".encode("latin-1")))
    assert "bytes that are not UTF-8" in bad(found)


def test_a_number_says_the_order_and_else_the_time_and_else_the_file(opened: Any) -> None:
    numbered = [(*HEADINGS, "Number"), *((*ROWS[0][:2], text, number) for text, number in (("b", 2), ("a", 1)))]
    assert [text for _, text in said(only(read(opened(csv_of(numbered)))))] == ["a", "b"]

    half = [(*HEADINGS, "Number"), ("c", "user", "b", 2), ("c", "user", "a", "")]
    assert [text for _, text in said(only(read(opened(csv_of(half)))))] == ["b", "a"]


def test_times_and_numbers_of_a_workbook_are_what_they_show(opened: Any) -> None:
    moment = datetime(2026, 1, 31, 12, 0, 0, 123000)  # noqa: DTZ001 - a workbook has no zones
    rows = [(*HEADINGS, "Date", "Tags"), (12, "user", 42, moment, "a; b"), (12, "user", True, moment, "")]
    found = only(read(opened(xlsx_of(("S", rows)))))

    assert (found.source_id, found.tags) == ("12", ("a", "b"))
    assert [message.content for message in found.messages] == ["42", "true"]
    assert found.messages[0].created_at == moment.replace(tzinfo=UTC)


def test_times_of_a_workbook_of_ours_are_those_of_the_zone_it_names(opened: Any) -> None:
    moment = datetime(2026, 7, 1, 12)  # noqa: DTZ001 - a workbook has no zones
    rows = [(*HEADINGS, "Created"), ("c", "user", "hi", moment)]
    for zone, hour in (("Europe/Berlin", 10), ("UTC", 12), ("Nowhere/Else", 12)):
        book = xlsx_of(("Messages", rows), ("About", [("Item", "Value"), ("Rows", 1), ("Time zone", zone)]))
        found = only(read(opened(book)))
        assert found.messages[0].created_at == datetime(2026, 7, 1, hour, tzinfo=UTC)


def test_a_damaged_workbook_is_told(opened: Any) -> None:
    data = bytearray(xlsx_of(("S", [HEADINGS, *ROWS])))
    start = data.index(b"xl/worksheets/sheet1.xml")
    data[start + 60 : start + 90] = bytes(30)
    with pytest.raises(UnreadableSource, match="damaged"):
        list(opened(bytes(data)))


def test_a_conversation_beyond_the_limit_is_refused_row_by_row(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "GROUP_LIMIT", 2000)
    monkeypatch.setattr(gathering, "GROUP_LIMIT", 2000)
    found = read(opened(csv_of([HEADINGS, *[("long", "user", "x" * 500)] * 5, ROWS[0]])))

    assert ids(found) == ["BAD"] * 5 + ["c-1"]
    assert found[0].raw == {"Conversation": "long", "Role": "user", "Content": "x" * 500}  # type: ignore[union-attr]
    assert bad(found[0]).startswith("Its conversation has 2,970 characters")


def test_a_disk_that_is_full_is_a_sentence(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SPOOL_LIMIT", 64 * 1024)
    with pytest.raises(UnreadableSource, match="do not fit the folder for temporary files"):
        read(opened(csv_of([HEADINGS, *[("c", "user", "x" * 900)] * 2000])))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """Five thousand rows of 4 KB, of five hundred conversations, in turns."""
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.write(csv_of([HEADINGS]))
        for block in range(10):
            file.write(csv_of((f"c-{n}", "user", f"{block} " + "word " * 800) for n in range(500)))
    source = open_source(path)
    tracemalloc.start()
    count = sum(isinstance(record, ImportedConversation) for record in source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 500
    assert peak < 10 * 1024 * 1024, peak


def test_no_file_is_left_behind(opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    source = opened(csv_of([HEADINGS, *ROWS]))
    records = iter(source)
    next(records)
    assert list(folder.iterdir())
    records.close()
    assert not list(folder.iterdir())
    assert len(read(source)) == 2
    assert not list(folder.iterdir())


def test_a_line_of_another_kind_is_told(opened: Any) -> None:
    lines = [{"conversation": "c", "role": "user", "content": "hi"}, {"strange": json.dumps("x")}]
    found = read(opened(b"".join(line_of(line) for line in lines) + b"{oops\n"))
    assert ids(found) == ["BAD", "BAD", "c"]
    assert "no column for conversation_id" in bad(found[0])
    assert "not valid JSON" in bad(found[1])
