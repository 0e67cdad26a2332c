"""The file of a backup: a line that says what it is, frames, and the SHA-256 of all that.

A frame is a kind (one byte), the lengths of its payload raw and compressed (4 bytes each, little-endian) and the
payload, compressed by zstd. Kinds, in their order:

- `H` once, first: BSON; who wrote it, when, of which database, and how much is to be expected.
- `C` before a collection's documents: BSON; name, type, options, indexes.
- `D` documents of the collection that was named last, as BSON, one behind the other.
- `R` BSON; a collection and ids: documents that have changed since they were written. They are removed; those that
  are still there follow in `D`, newer.
- `T` once, last: BSON; the instant, and for each collection the counts and the SHA-256 of all of its documents.

A file that was cut off has no end, and no byte can change without changing the hash: `reading` refuses both.
"""

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, BinaryIO

import bson
from backports import zstd

MAGIC = b"VERBATIM BACKUP 1\n"
ANY_MAGIC = b"VERBATIM BACKUP "
FRAME = struct.Struct("<cII")
DIGEST_BYTES = 32
MOST_RAW_BYTES = 64 << 20
"""No payload is longer: a reply of MongoDB has 16 MiB and one document at most."""
_LEVEL = 3

Facts = Mapping[str, Any]


class Kind(bytes, Enum):
    """Of a frame."""

    HEADER = b"H"
    COLLECTION = b"C"
    DOCUMENTS = b"D"
    REPLACED = b"R"
    TRAILER = b"T"


@dataclass
class Tally:
    """What a file holds of one collection: `written` documents, some perhaps more than once, and `replaced` ids."""

    written: int = 0
    replaced: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    @property
    def facts(self) -> dict[str, Any]:
        return {"written": self.written, "replaced": self.replaced, "sha256": self.digest.digest()}


class BackupWriter:
    """Writes one file from its beginning to its end. Blocks: use it in threads, one call at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._tallies: dict[str, Tally] = {}
        self._current = ""
        self.bytes = 0

    def begin(self, header: Facts) -> None:
        self._write(MAGIC)
        self._frame(Kind.HEADER, bson.encode(header))

    def collection(self, facts: Facts) -> None:
        """`facts`: name, type, options, indexes."""
        self._current = facts["name"]
        self._tallies[self._current] = Tally()
        self._frame(Kind.COLLECTION, bson.encode(facts))

    def documents(self, documents: Iterable[bytes | memoryview], count: int) -> None:
        """Of the collection that was named last."""
        raw = b"".join(documents)
        tally = self._tallies[self._current]
        tally.written += count
        tally.digest.update(raw)
        self._frame(Kind.DOCUMENTS, raw)

    def replaced(self, name: str, ids: list[Any]) -> None:
        """These documents are not as they were written before; those that are still there are written next."""
        self._current = name
        self._tallies[name].replaced += len(ids)
        self._frame(Kind.REPLACED, bson.encode({"name": name, "ids": ids}))

    def finish(self, facts: Facts, counts: Mapping[str, int]) -> bytes:
        """The end; `counts`: how many documents each collection has. Answers the file's own SHA-256."""
        collections = {name: {**tally.facts, "documents": counts[name]} for name, tally in self._tallies.items()}
        self._frame(Kind.TRAILER, bson.encode({**facts, "collections": collections}))
        digest = self._digest.digest()
        self._write(digest)
        return self._digest.digest()

    @property
    def written(self) -> dict[str, int]:
        """Documents written of each collection."""
        return {name: tally.written for name, tally in self._tallies.items()}

    def _frame(self, kind: Kind, raw: bytes) -> None:
        stored = zstd.compress(raw, _LEVEL)
        self._write(FRAME.pack(kind.value, len(raw), len(stored)))
        self._write(stored)

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)
        self.bytes += len(data)
