"""Opens a file of conversations and reads it record by record, whatever its format, in bounded memory.

Nothing here touches the database or the event loop: reading blocks, so a service runs it in a thread.
"""

import codecs
import re
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

from app.imports.chatgpt import read_conversations
from app.imports.jsonl import read_lines
from app.imports.records import BadRecord, Record
from app.imports.streams import DamagedError, Entry, UnreadableSource, open_entries

Format = Literal["jsonl", "chatgpt"]

HEAD = 64 * 1024  # bytes that decide the format

_READERS: dict[Format, Callable[[Entry, int], Iterator[Record]]] = {
    "jsonl": read_lines,
    "chatgpt": read_conversations,
}
_OBJECT_LINE = re.compile(rb'^[ \t]*\{[ \t]*["}]', re.MULTILINE)
_EMPTY_ARRAY = re.compile(rb"\[\s*\]\s*")


class Source:
    """A file that can be imported. Each iteration reads it from the start; it may be closed early.

    `bytes_read` grows with each record up to `size_bytes`, both in bytes of the file as it is stored; it may be read
    from another thread. Iterating raises `UnreadableSource` if the file is gone by then, `OSError` if the disk fails.
    """

    def __init__(self, path: Path, format: Format, size_bytes: int) -> None:
        self.format = format
        self.size_bytes = size_bytes
        self.bytes_read = 0
        self._path = path

    def __iter__(self) -> Generator[Record, None, None]:
        self.bytes_read = 0
        position = 0
        with closing(open_entries(self._path)) as entries:
            for entry in entries:
                for record in _READERS[self.format](entry, position + 1):
                    position = record.position
                    self.bytes_read = max(self.bytes_read, min(entry.consumed(), self.size_bytes))
                    yield _named(record, entry.name)
        self.bytes_read = self.size_bytes


def open_source(path: Path) -> Source:
    """The conversations in this file: JSON Lines or ChatGPT's export, plain, gzip, or ChatGPT's zip.

    Raises `UnreadableSource` if it is not there, not a file, empty, damaged from the start, or of another format.
    """
    size_bytes = _size(path)
    with closing(open_entries(path)) as entries:
        entry = next(entries)
        try:
            head = entry.read(HEAD)
        except DamagedError as error:
            raise UnreadableSource(f"{path.name} cannot be read: {error}") from error
        return Source(path, _format(path.name, head), size_bytes)


def _size(path: Path) -> int:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise UnreadableSource(f"{path.name} does not exist") from error
    except OSError as error:
        raise UnreadableSource(f"{path.name} cannot be opened: {error.strerror}") from error
    except ValueError as error:
        raise UnreadableSource(f"{path.name!r} is not a name of a file") from error
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableSource(f"{path.name} is a folder or a device, not a file")
    return status.st_size


def _format(name: str, head: bytes) -> Format:
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if not start:
        raise UnreadableSource(f"{name} is empty")
    if start.startswith(b"["):
        if b'"mapping"' in start or _EMPTY_ARRAY.fullmatch(start):
            return "chatgpt"
        raise UnreadableSource(f"{name} is a JSON array, but not of ChatGPT's conversations, which have a mapping")
    if _OBJECT_LINE.search(start):
        return "jsonl"
    raise UnreadableSource(f"{name} is neither JSON Lines (an object per line, in UTF-8) nor an export of ChatGPT")


def _named(record: Record, name: str) -> Record:
    if name and isinstance(record, BadRecord):
        return BadRecord(record.position, f"{name}: {record.reason}")
    return record
