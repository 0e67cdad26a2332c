"""XLSX: every sheet whose headings fit, row by row. A text that our export continued in further cells is one again.

Memory holds one row and the workbook's shared texts. Times have no zone in a workbook: they are those of
the zone that our sheet About names, and UTC in other people's.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, tzinfo
from typing import Any
from xml.etree.ElementTree import ParseError
from zoneinfo import ZoneInfo

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from app.imports.cells import Headings, is_blank, plain
from app.imports.fields import RefusedError
from app.imports.mapping import map_columns
from app.imports.records import BadRecord
from app.imports.row_groups import TableRow
from app.imports.streams import Entry, UnreadableSource
from app.imports.table_options import TableOptions
from app.kit.export.model import ABOUT

_ZONE_ITEM = "Time zone"

# What openpyxl raises for workbooks that are damaged, each from another of its parts.
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, EOFError, ParseError, InvalidFileException),
    *(KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError, RuntimeError, struct.error),
)


def read_rows(entry: Entry, options: TableOptions) -> Iterator[TableRow | BadRecord]:
    """The rows of the sheets that have the columns; raises UnreadableSource when none has."""
    try:
        book = openpyxl.load_workbook(entry.workbook, read_only=True, data_only=True, keep_links=False)
    except (*_BROKEN, OSError) as error:
        raise UnreadableSource(f"{options.name} is a damaged workbook: {error}") from error
    with closing(book):
        zone = _zone(book)
        complaint: UnreadableSource | None = None
        is_read = False
        for sheet in book.worksheets:
            name = f"Sheet {sheet.title} of {options.name}"
            place = f"Sheet {sheet.title}: " if len(book.worksheets) > 1 else ""
            try:
                for row in _rows(sheet, TableOptions(name, options.columns), place, zone):
                    is_read = True
                    yield row
            except UnreadableSource as error:
                complaint = complaint or error  # of the first sheet: others may be there for people
        if complaint and not is_read:
            raise complaint


def _zone(book: Any) -> tzinfo:
    """The zone that an export of ours says its times are in; UTC where nothing is said."""
    rows = book[ABOUT].iter_rows(max_row=50, max_col=2, values_only=True) if ABOUT in book.sheetnames else ()
    name = next((row[1] for row in rows if len(row) == 2 and row[0] == _ZONE_ITEM), None)
    try:
        return ZoneInfo(str(name)) if name else UTC
    except (ValueError, OSError, LookupError):
        return UTC


def _rows(sheet: Any, options: TableOptions, place: str, zone: tzinfo) -> Iterator[TableRow | BadRecord]:
    sheet.reset_dimensions()  # what a sheet says of its size need not be true
    rows = sheet.iter_rows(values_only=True)
    headings = Headings([plain(cell) for cell in _trimmed(next(rows, ()))])
    columns = map_columns(options.name, headings.names, options.columns)
    position = 1
    while True:
        position += 1
        cells: list[Any] = []
        try:
            cells = [plain(cell, zone) for cell in next(rows)]
            row = headings.row(cells)
        except StopIteration:
            return
        except RefusedError as error:
            yield BadRecord(position, f"{place}{error}", cells)
        except _BROKEN as error:
            yield BadRecord(position, f"{place}Nothing could be read from here on: {error}")
            return
        else:
            if not is_blank(row):
                yield TableRow(columns, position, row, place)


def _trimmed(cells: tuple[Any, ...]) -> list[Any]:
    """Without the empty ones at the end."""
    found = list(cells)
    while found and found[-1] in (None, ""):
        found.pop()
    return found
