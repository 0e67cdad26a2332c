"""Opens a file of conversations and reads it record by record, whatever its format, in bounded memory.

Nothing here touches the database or the event loop: reading blocks, so a service runs it in a thread.
"""

import stat
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from app.imports import chatgpt, claude, csv_rows, json_rows, langchain, librechat, openwebui, xlsx_rows
from app.imports.formats import HEAD, Format, Recognized, recognize
from app.imports.gathering import Grouping, Keyed, TableRows, gather
from app.imports.items import Object, read_items
from app.imports.jsonl import read_lines
from app.imports.records import BadRecord, ImportedConversation, Pause, Record
from app.imports.row_groups import TableRow
from app.imports.streams import DamagedError, Entry, UnreadableSource, open_entries
from app.imports.table_options import TableOptions

_ITEMS: dict[Format, Callable[[Object, int], ImportedConversation]] = {
    "chatgpt": chatgpt.conversation,
    "claude": claude.conversation,
    "librechat": librechat.conversation,
    "openwebui": openwebui.conversation,
}
"""Formats whose items are conversations."""

_READERS: dict[Format, Callable[[Entry, int], Iterator[Record]]] = {
    "jsonl": read_lines,
    **{format: partial(read_items, build=build) for format, build in _ITEMS.items()},
}
TABLES: tuple[Format, ...] = ("csv", "xlsx", "rows")


class Source:
    """A file that can be imported. Each iteration reads it from the start; it may be closed early.

    `bytes_read` grows with each record up to `size_bytes`, both in bytes of the file as it is stored; it may be read
    from another thread. Iterating raises `UnreadableSource` if the file is gone by then, `OSError` if the disk fails.
    `columns`: the heading of each field of a table, once its rows were read.
    """

    def __init__(
        self,
        path: Path,
        recognized: Recognized,
        size_bytes: int,
        options: TableOptions,
        companions: Sequence["Source"] = (),
    ) -> None:
        """`companions`: further tables about the same conversations."""
        self.format = recognized.format
        self.size_bytes = size_bytes
        self.bytes_read = 0
        self.columns: dict[str, str] = {}
        self.companions = companions
        self.path = path
        self._recognized = recognized
        self._options = options

    def __iter__(self) -> Generator[Record | Pause, None, None]:
        self.bytes_read = 0
        if self.format in _READERS:
            yield from self._read()
        else:
            yield from self._gathered()
        self.bytes_read = self.size_bytes

    def _read(self) -> Iterator[Record]:
        position = 0
        with closing(open_entries(self.path)) as entries:
            for entry in entries:
                for record in _READERS[self.format](entry, position + 1):
                    position = record.position
                    self._advance(entry.consumed())
                    yield _named(record, entry.name)

    def _gathered(self) -> Iterator[Record | Pause]:
        """Reading the rows is half of the way, bringing them together the other half."""

        def note(done: float) -> None:
            self._advance(int(self.size_bytes * (1 + done) / 2))

        rows, grouping = self._rows()
        with closing(gather(rows, grouping, note)) as records:
            yield from records

    def _rows(self) -> tuple[Iterable[Keyed | BadRecord], Grouping]:
        if self.format == "langchain":
            return self._entries(langchain.read_documents), langchain.Sessions()
        tables = TableRows()
        own = tables.keyed(row for source in (self, *self.companions) for row in source.table_rows(self))

        def noted() -> Iterator[Keyed | BadRecord]:
            yield from own
            self.columns = tables.shown

        return noted(), tables

    def table_rows(self, progress: "Source") -> Generator[TableRow | BadRecord, None, None]:
        """The rows of the file, as far as it is a table; `progress` is told only of its own."""
        name = self.path.name if progress is not self else ""
        for row in self._entries(self._read_table, count=progress is self):
            yield replace(row, place=f"{name}: {row.place}") if name and isinstance(row, TableRow) else row

    def _read_table(self, entry: Entry) -> Iterator[TableRow | BadRecord]:
        if self.format == "xlsx":
            return xlsx_rows.read_rows(entry, self._options)
        if self._recognized.dialect is not None:
            return csv_rows.read_rows(entry, self._recognized.dialect, self._options)
        return json_rows.read_rows(entry, self._options)

    def _entries(self, read: Callable[[Entry], Iterator[Any]], *, count: bool = True) -> Iterator[Any]:
        with closing(open_entries(self.path)) as entries:
            for entry in entries:
                for row in read(entry):
                    if count:
                        self._advance(entry.consumed() // 2)
                    yield row

    def _advance(self, bytes_read: int) -> None:
        self.bytes_read = max(self.bytes_read, min(bytes_read, self.size_bytes))


def open_source(
    path: Path, *, columns: dict[str, str] | None = None, companions: Sequence[Path] = (), name: str | None = None
) -> Source:
    """The conversations in this file, plain or gzip, or in a zip as ChatGPT and Claude send it.

    `columns`: the headings of a table, by field (see `mapping`). `companions`: further tables about the same
    conversations, such as our export of conversations beside that of their messages. `name`: what sentences call it.

    Raises `UnreadableSource` if it is not there, not a file, empty, damaged from the start, or of another format.
    """
    options = TableOptions(name or path.name, columns or {})
    size_bytes = _size(path, options.name)
    with closing(open_entries(path)) as entries:
        recognized = _recognized(next(entries), options)
    source = Source(path, recognized, size_bytes, options, [open_source(each) for each in companions])
    for each in (source, *source.companions) if companions else ():
        if each.format not in TABLES:
            raise UnreadableSource(
                f"Only tables can be read together, and {each.path.name} is none: it is {each.format}"
            )
    if source.format in TABLES:
        with closing(source.table_rows(source)) as rows:
            next(rows, None)  # complains when a column is missing
        source.bytes_read = 0
    return source


def _recognized(entry: Entry, options: TableOptions) -> Recognized:
    if entry.workbook is not None:
        return Recognized("xlsx")
    try:
        head = entry.read(HEAD)
    except DamagedError as error:
        raise UnreadableSource(f"{options.name} cannot be read: {error}") from error
    return recognize(options.name, head, options.columns)


def _size(path: Path, name: str) -> int:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise UnreadableSource(f"{name} does not exist") from error
    except OSError as error:
        raise UnreadableSource(f"{name} cannot be opened: {error.strerror}") from error
    except ValueError as error:
        raise UnreadableSource(f"{name!r} is not a name of a file") from error
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableSource(f"{name} is a folder or a device, not a file")
    return status.st_size


def _named(record: Record, name: str) -> Record:
    if name and isinstance(record, BadRecord):
        return replace(record, reason=f"{name}: {record.reason}")
    return record
