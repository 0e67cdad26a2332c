"""The bad records of an import as a file: JSON Lines of the position, the reason, and the record as it came.

Where the record was text (a line of JSON Lines) it is a text; where it was an object or the cells of a row, an object.
Such a file can be imported itself, once it is mended: what is read of a line is the record.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from tempfile import TemporaryFile
from typing import IO, Any

from app.imports.records import BadRecord, Pause, Record

PIECE_BYTES = 1 << 20
MEMBERS = frozenset({"position", "reason", "row"})


def as_it_came(value: Any, decode: Callable[[str], Any] = json.loads) -> Any:
    """The record in a line of a file of errors, decoded where it is text; anything else as it is."""
    if not isinstance(value, dict) or value.keys() != MEMBERS:
        return value
    return decode(value["row"]) if isinstance(value["row"], str) else value["row"]


class ErrorsFile:
    """Bad records on disk. Every method blocks; the file is gone when it is closed."""

    def __init__(self) -> None:
        self._file: IO[bytes] = TemporaryFile(prefix="verbatim-errors-")  # noqa: SIM115 - close() closes it
        self.bytes = 0

    def add(self, record: BadRecord) -> None:
        self.bytes += self._file.write(_line(record))

    def noting(self, records: Iterable[Record | Pause]) -> Iterator[Record | Pause]:
        """The records, of which the bad ones are written down and lose what they hold."""
        for record in records:
            if isinstance(record, BadRecord):
                self.add(record)
                yield replace(record, raw=None)
            else:
                yield record

    def pieces(self) -> Iterator[bytes]:
        """The file from the beginning."""
        self._file.seek(0)
        while piece := self._file.read(PIECE_BYTES):
            yield piece

    def close(self) -> None:
        self._file.close()


def _line(record: BadRecord) -> bytes:
    told = {"position": record.position, "reason": record.reason}
    try:
        text = json.dumps({**told, "row": record.raw}, allow_nan=False)
    except ValueError:  # numbers that JSON does not have
        text = json.dumps({**told, "row": json.dumps(record.raw)})
    return text.encode() + b"\n"
