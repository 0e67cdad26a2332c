"""XLSX: the rows are spooled to a temporary file first, then written as a workbook, then sent.

Spooling is what lets a text beyond the limit of a cell be continued in further columns ("Content (2)") without holding
the rows in memory: a sheet's columns must be known before its first row, and typical exports need no further ones.
Both files are anonymous or deleted with their handle, and every step runs in a worker thread.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from threading import Event
from typing import Literal

import orjson

from app.kit.export.column_width import SampledWidths, header_width
from app.kit.export.model import ABOUT, ExportOptions, Heading, Row, grouped, require_unique
from app.kit.export.spool import Abandoned, completed
from app.kit.export.workbook import Column, Sheet, WriteWorkbook
from app.kit.export.xlsx_cell import ALWAYS_FITS, Cell, clean, encoders, parts
from app.kit.resource import Kind

write_workbook: WriteWorkbook
try:
    from app.kit.export.rust_workbook import write_workbook
except ImportError:
    from app.kit.export.openpyxl_workbook import write_workbook

SPOOL_BUFFER = 1 << 20
"""Bytes. A thread that gives up the interpreter's lock for a small read every few rows takes it back before any other
thread wakes: with the default buffer the event loop stood still for up to 0.4 s, with this one for 0.02 s."""
_NUMBER_FORMATS: Mapping[Kind, str] = {"instant": "yyyy-mm-dd hh:mm:ss", "date": "yyyy-mm-dd"}
_ALIGNMENTS: Mapping[Kind, Literal["left", "right"]] = {
    "instant": "left",
    "date": "left",
    "boolean": "left",
    "integer": "right",
    "number": "right",
}


def stream(
    headings: Sequence[Heading],
    batches: AsyncIterator[Iterable[Row]],
    about: Mapping[str, str],
    options: ExportOptions,
) -> AsyncGenerator[bytes, None]:
    """The file in chunks of 256 KiB, once it is complete; its last sheet holds `about`, the number of rows and the time
    zone that the sheets show."""
    require_unique("the labels", (clean(each.label) for each in headings))
    return completed(partial(_Workbook, headings, about, options), batches)


class _Workbook:
    """See Draft. Abandoned, it stops within a row of the sheets, but not while the finished ones are compressed."""

    def __init__(self, headings: Sequence[Heading], about: Mapping[str, str], options: ExportOptions) -> None:
        self._headings = headings
        self._about = about
        self._options = options
        self._parts = [1] * len(headings)
        self._widths = SampledWidths([heading.kind for heading in headings])
        self._rows = 0
        self._abandoned = Event()
        self._encoders = [encoders(heading.kind, options.zone) for heading in headings]
        with ExitStack() as files:
            self._spool = files.enter_context(TemporaryFile(buffering=SPOOL_BUFFER, prefix="verbatim-"))
            self._file = files.enter_context(NamedTemporaryFile(prefix="verbatim-", suffix=".xlsx"))
            self._files = files.pop_all()

    def add(self, batch: Iterable[Row]) -> None:
        """Spool the rows as lines of JSON, and note into how many cells the longest text of each column must go."""
        for group in grouped(batch, len(self._headings)):
            columns = [
                table.column(values) for table, values in zip(self._encoders, zip(*group, strict=True), strict=True)
            ]
            for index, column in enumerate(columns):
                self._parts[index] = max(self._parts[index], _most_parts(column))
            rows = list(zip(*columns, strict=True))
            self._spool.writelines(orjson.dumps(cells, option=orjson.OPT_APPEND_NEWLINE) for cells in rows)
            if self._widths.are_wanted:
                for row in rows:
                    self._widths.see(row)
            self._rows += len(rows)

    def finish(self) -> None:
        facts: list[list[Cell]] = [[clean(item), clean(value)] for item, value in self._about.items()]
        facts += [["Rows", self._rows], ["Time zone", self._options.tz]]
        write_workbook(Path(self._file.name), [*self._sheets(), _about_sheet(facts)])

    def abandon(self) -> None:
        self._abandoned.set()

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        self._files.close()

    def _sheets(self) -> Iterator[Sheet]:
        """As many sheets as the rows need, at least one; they share one pass over the spool."""
        name, capacity = self._options.sheet_name, self._options.sheet_rows - 1
        columns = _columns(self._headings, self._parts, self._widths)
        rows = self._spooled()
        for number in range(1, max(1, math.ceil(self._rows / capacity)) + 1):
            yield Sheet(name if number == 1 else f"{name} ({number})", columns, islice(rows, capacity))

    def _spooled(self) -> Iterator[Sequence[Cell]]:
        self._spool.seek(0)
        for line in self._spool:
            if self._abandoned.is_set():
                raise Abandoned
            yield _spread(orjson.loads(line), self._parts)


def _about_sheet(facts: Sequence[list[Cell]]) -> Sheet:
    most = [max(len(_split(cell)) for cell in column) for column in zip(*facts, strict=True)]
    widths = SampledWidths(["text", "text"])
    for fact in facts:
        widths.see(fact)
    columns = _columns([Heading("item", "Item"), Heading("value", "Value")], most, widths)
    columns = [replace(column, align="left") for column in columns]  # a number among texts
    return Sheet(ABOUT, columns, [_spread(fact, most) for fact in facts], filtered=False)


def _most_parts(column: Sequence[Cell]) -> int:
    """Into how many cells the longest text of a column must go."""
    long = [cell for cell in column if type(cell) is str and len(cell) > ALWAYS_FITS]
    return max((len(parts(text)) for text in long), default=1)


def _split(cell: Cell) -> Sequence[Cell]:
    return parts(cell) if isinstance(cell, str) else (cell,)


def _spread(cells: list[Cell], most: Sequence[int]) -> list[Cell]:
    """The cells of a row with each in as many columns as its column has."""
    if len(cells) == sum(most):
        return cells
    row: list[Cell] = []
    for cell, columns in zip(cells, most, strict=True):
        pieces = _split(cell)
        row += [*pieces, *[None] * (columns - len(pieces))]
    return row


def _columns(headings: Sequence[Heading], most: Sequence[int], widths: SampledWidths) -> list[Column]:
    """The columns of a sheet: each heading's, then its continuations as "Content (2)"."""
    taken = {clean(heading.label) for heading in headings}
    columns = []
    for index, heading in enumerate(headings):
        label = clean(heading.label)
        further = (name for n in count(2) if (name := f"{label} ({n})") not in taken)
        for name in [label, *islice(further, most[index] - 1)]:
            width = max(widths.width(index), header_width(name))
            columns.append(Column(name, width, _NUMBER_FORMATS.get(heading.kind), _ALIGNMENTS.get(heading.kind)))
            taken.add(name)
    return columns
