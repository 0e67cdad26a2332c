"""XLSX: the rows are spooled to a temporary file as they stand in their sheets, then packed into a workbook, then sent.

Spooling is what lets a text beyond the limit of a cell be continued in further columns ("Content (2)") without holding
the rows in memory: a sheet's columns must be known before its first row, and typical exports need no further ones.
Both files are anonymous, and every step runs in a worker thread.
"""

from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice
from tempfile import TemporaryFile
from threading import Event
from zipfile import ZIP_DEFLATED, ZipFile

from app.kit.export.column_width import SampledWidths, header_width
from app.kit.export.model import ABOUT, ExportOptions, Heading, Row, grouped, require_unique
from app.kit.export.spool import Abandoned, completed
from app.kit.export.xlsx_cell import Cell, clean, encoders
from app.kit.export.xlsx_package import LEFT, Column, Sheet, package, sheet_head, sheet_tail, style_of
from app.kit.export.xlsx_rows import RowEncoder

SPOOL_BUFFER = 1 << 20
"""Bytes. A thread that gives up the interpreter's lock for a small read every few rows takes it back before any other
thread wakes: with the default buffer the event loop stood still for up to 0.4 s, with this one for 0.02 s."""
SHEET_BYTES = 1_800_000_000
"""After so much XML the next sheet begins: from 2 GiB on an archive needs ZIP64, which Excel takes for damage."""
DEFLATE_LEVEL = 1


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


@dataclass
class _Rows:
    """The rows of a sheet: how many they are, and how long each block of them is in the spool."""

    count: int = 0
    bytes: int = 0
    blocks: "array[int]" = field(default_factory=lambda: array("Q"))


class _Workbook:
    """See Draft. Abandoned, it stops within a block of rows."""

    def __init__(self, headings: Sequence[Heading], about: Mapping[str, str], options: ExportOptions) -> None:
        self._headings = headings
        self._about = about
        self._options = options
        self._widths = SampledWidths([heading.kind for heading in headings])
        self._sheets = [_Rows()]
        self._abandoned = Event()
        self._encoders = [encoders(heading.kind, options.zone) for heading in headings]
        self._rows = RowEncoder([style_of(heading.kind) for heading in headings])
        with ExitStack() as files:
            self._spool = files.enter_context(TemporaryFile(buffering=SPOOL_BUFFER, prefix="verbatim-"))
            self._file = files.enter_context(TemporaryFile(prefix="verbatim-", suffix=".xlsx"))
            self._files = files.pop_all()

    def add(self, batch: Iterable[Row]) -> None:
        for group in grouped(batch, len(self._headings)):
            columns: list[Sequence[Cell]] = [
                table.column(values) for table, values in zip(self._encoders, zip(*group, strict=True), strict=True)
            ]
            self._widths.see(columns)
            while columns[0]:
                room = self._store(columns)
                columns = [column[room:] for column in columns]

    def finish(self) -> None:
        columns = _columns(self._headings, self._rows.parts, self._widths)
        name = self._options.sheet_name
        sheets = [
            Sheet(name if number == 1 else f"{name} ({number})", columns, rows.count)
            for number, rows in enumerate(self._sheets, 1)
        ]
        about, facts = self._facts()
        with ZipFile(self._file, "w", ZIP_DEFLATED, compresslevel=DEFLATE_LEVEL) as archive:
            for path, text in package([*sheets, about]).items():
                _write(archive, path, [text.encode()])
            self._spool.seek(0)
            bodies = [*map(self._spooled, self._sheets), facts]
            for number, (sheet, rows) in enumerate(zip([*sheets, about], bodies, strict=True), 1):
                _write(archive, f"xl/worksheets/sheet{number}.xml", _sheet_xml(sheet, rows, is_first=number == 1))
        self._file.seek(0)

    def abandon(self) -> None:
        self._abandoned.set()

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        self._files.close()

    def _store(self, columns: Sequence[Sequence[Cell]]) -> int:
        """Spool the first rows, so many as the sheet has room for; answers how many that may have been."""
        sheet = self._sheets[-1]
        room = self._options.sheet_rows - 1 - sheet.count
        if room == 0 or sheet.bytes >= SHEET_BYTES:
            self._sheets.append(_Rows())
            return 0
        for block in self._rows.blocks(sheet.count + 2, [column[:room] for column in columns]):
            self._spool.write(block)
            sheet.blocks.append(len(block))
            sheet.bytes += len(block)
        sheet.count += min(room, len(columns[0]))
        return room

    def _spooled(self, sheet: _Rows) -> Iterator[bytes]:
        """The rows of the next sheet."""
        for size in sheet.blocks:
            if self._abandoned.is_set():
                raise Abandoned
            yield self._rows.finally_named(self._spool.read(size))

    def _facts(self) -> tuple[Sheet, Iterator[bytes]]:
        """The sheet About and its rows."""
        facts: dict[str, Cell] = {clean(item): clean(value) for item, value in self._about.items()}
        facts |= {"Rows": sum(sheet.count for sheet in self._sheets), "Time zone": self._options.tz}
        cells: list[Sequence[Cell]] = [list(facts), list(facts.values())]
        widths = SampledWidths(["text", "text"])
        widths.see(cells)
        rows = RowEncoder([LEFT, LEFT])  # a number among texts
        blocks = list(rows.blocks(2, cells))
        columns = _columns([Heading("item", "Item"), Heading("value", "Value")], rows.parts, widths, LEFT)
        return Sheet(ABOUT, columns, len(facts), filtered=False), map(rows.finally_named, blocks)


def _write(archive: ZipFile, path: str, pieces: Iterable[bytes]) -> None:
    """A file of the archive; unlike `writestr`, `open` does not note the time."""
    with archive.open(path, "w") as part:
        for piece in pieces:
            part.write(piece)


def _sheet_xml(sheet: Sheet, rows: Iterable[bytes], *, is_first: bool) -> Iterator[bytes]:
    yield sheet_head(sheet, is_first=is_first).encode()
    yield from rows
    yield sheet_tail(sheet).encode()


def _columns(
    headings: Sequence[Heading], most: Sequence[int], widths: SampledWidths, style: int | None = None
) -> list[Column]:
    """The columns of a sheet: each heading's, then its continuations as "Content (2)"."""
    taken = {clean(heading.label) for heading in headings}
    columns = []
    for index, heading in enumerate(headings):
        label = clean(heading.label)
        further = (name for n in count(2) if (name := f"{label} ({n})") not in taken)
        for name in [label, *islice(further, most[index] - 1)]:
            width = max(widths.width(index), header_width(name))
            columns.append(Column(name, width, style_of(heading.kind) if style is None else style))
            taken.add(name)
    return columns
