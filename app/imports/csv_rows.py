"""CSV: the separator told from the headings, UTF-8 or (by its mark) UTF-16, quotes doubled, line breaks in quotes.

In our own exports for spreadsheets the apostrophe goes that guards texts which look like formulas; those for programs
(`raw`) have no byte order mark, and nothing is taken from them.
"""

import codecs
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

from app.imports.cells import Headings, is_blank
from app.imports.fields import RefusedError
from app.imports.mapping import map_columns
from app.imports.records import BadRecord
from app.imports.row_groups import TableRow
from app.imports.streams import DamagedError, Entry, UnreadableSource
from app.imports.table_options import TableOptions
from app.kit.export.csv_writer import guarded

LINE_CHARACTERS = 16 * 1024 * 1024
SEPARATORS = ",;\t|"
_DIRECTIVE = "sep="
"""Excel's own first line, which names the separator."""

csv.field_size_limit(LINE_CHARACTERS)


@dataclass(frozen=True)
class Dialect:
    """How the file is written; `lines_before`: those in front of the headings."""

    encoding: str
    separator: str
    has_mark: bool
    lines_before: int = 0


def sniff(head: bytes) -> Dialect | None:
    """How the file that begins like this is written; None when it is no table of two columns or more."""
    encoding, has_mark = _encoding(head)
    text = codecs.getincrementaldecoder(encoding)("surrogateescape").decode(head)
    lines = text.splitlines(keepends=True)
    if "\0" in text or not lines or text.lstrip()[:1] in "{[":
        return None
    if lines[0].lower().startswith(_DIRECTIVE) and len(lines[0].strip()) == len(_DIRECTIVE) + 1:
        return Dialect(encoding, lines[0][len(_DIRECTIVE)], has_mark, lines_before=1)
    widths = {separator: len(_first(lines, separator)) for separator in SEPARATORS}
    best = max(SEPARATORS, key=widths.__getitem__)
    return Dialect(encoding, best, has_mark) if widths[best] > 1 else None


def _encoding(head: bytes) -> tuple[str, bool]:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", True
    return "utf-8-sig", head.startswith(codecs.BOM_UTF8)


def _first(lines: list[str], separator: str) -> list[str]:
    try:
        return next(csv.reader(lines, delimiter=separator), [])
    except csv.Error:
        return []


class _Bytes(io.RawIOBase):
    """The entry as the standard library's text reader wants it."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._entry.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def read_rows(entry: Entry, dialect: Dialect, options: TableOptions) -> Iterator[TableRow | BadRecord]:
    """The rows below the headings; the row of the headings is 1. Raises UnreadableSource when a column is missing."""
    text = io.TextIOWrapper(
        io.BufferedReader(_Bytes(entry), 1 << 20), dialect.encoding, errors="surrogateescape", newline=""
    )
    lines = iter(lambda: text.readline(LINE_CHARACTERS), "")
    reader = csv.reader(lines, delimiter=dialect.separator, strict=True)
    for _ in range(dialect.lines_before):
        next(lines, "")
    try:
        headings = Headings(next(reader, []))
    except (csv.Error, DamagedError) as error:
        raise UnreadableSource(f"The headings cannot be read: {error}") from error
    columns = map_columns(options.name, headings.names, options.columns)
    is_guarded = columns.is_ours and dialect.has_mark
    position = 1
    while True:
        position += 1
        try:
            cells = next(reader)
            row = headings.row([_unguarded(cell) for cell in cells] if is_guarded else cells)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadRecord(position, f"The row is not valid CSV: {error}")
        except RefusedError as error:
            yield BadRecord(position, str(error), cells)
        except DamagedError as error:
            yield BadRecord(position, f"Nothing could be read from here on: {error}")
            return
        else:
            if not is_blank(row):
                yield TableRow(columns, position, row)


def _unguarded(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and guarded(cell[1:]) == cell else cell
