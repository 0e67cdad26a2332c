"""A backup's file, read once from its beginning to its end, and checked on the way.

for part in BackupReader(file):
    ...  # a Header, Collections with their Documents, Replacements, and the Trailer

Whatever was handed out before counts only when the Trailer has come: until then the file may turn out to be damaged.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, TypeAlias

import bson
from backports import zstd
from bson.errors import BSONError
from bson.timestamp import Timestamp

from app.backups.failures import BackupFailed, DamagedBackup
from app.backups.frames import ANY_MAGIC, DIGEST_BYTES, FRAME, MAGIC, MOST_RAW_BYTES, Kind, Tally

_SMALLEST_DOCUMENT = 5
_CUT_OFF = "The backup was cut off: it ends before its end. Take another one."
_ALTERED = "The backup was altered or damaged: {0}. Take another one."


@dataclass(frozen=True)
class Header:
    """`expected`: about how many documents each collection has."""

    id: bson.ObjectId
    verbatim: str
    database: str
    started_at: datetime
    expected: dict[str, int]


@dataclass(frozen=True)
class Collection:
    name: str
    type: str
    options: dict[str, Any]
    indexes: list[dict[str, Any]]


@dataclass(frozen=True)
class Documents:
    """Documents of a collection, each as its BSON."""

    name: str
    documents: list[bytes]
    bytes: int


@dataclass(frozen=True)
class Replaced:
    """Documents that are not as they came before: remove them; those that are still there come next."""

    name: str
    ids: list[Any]


@dataclass(frozen=True)
class Trailer:
    """`instant`: as of which the database is; None where the server had no snapshots, and nothing is promised.
    `documents`: how many each collection has."""

    instant: Timestamp | None
    finished_at: datetime
    documents: dict[str, int]
    sha256: str


Part: TypeAlias = Header | Collection | Documents | Replaced | Trailer


class BackupReader:
    """An iterable of the parts, once. Blocks: use it in threads. Raises DamagedBackup and BackupFailed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._tallies: dict[str, Tally] = {}
        self._current = ""
        self.bytes = 0

    def __iter__(self) -> Iterator[Part]:
        self._expect_magic()
        kind, raw = self._frame()
        if kind != Kind.HEADER.value:
            raise DamagedBackup(_ALTERED.format("it begins with something else"))
        yield _decoded(lambda: _header(bson.decode(raw, _AWARE)))
        while kind != Kind.TRAILER.value:
            kind, raw = self._frame()
            part = self._part(kind, raw)
            if isinstance(part, Trailer):
                part = self._checked(part)
            yield part

    def _part(self, kind: bytes, raw: bytes) -> Part:
        parsers: dict[bytes, Callable[[bytes], Part]] = {
            Kind.COLLECTION.value: self._collection,
            Kind.DOCUMENTS.value: self._documents,
            Kind.REPLACED.value: self._replaced,
            Kind.TRAILER.value: self._trailer,
        }
        parse = parsers.get(kind)
        if parse is None:
            raise DamagedBackup(_ALTERED.format("it has a part of no known kind"))
        return _decoded(lambda: parse(raw))

    def _collection(self, raw: bytes) -> Collection:
        facts = bson.decode(raw)
        collection = Collection(facts["name"], facts["type"], facts["options"], facts["indexes"])
        self._current = collection.name
        self._tallies[self._current] = Tally()
        return collection

    def _documents(self, raw: bytes) -> Documents:
        tally = self._tallies[self._current]
        documents = list(_split(raw))
        tally.written += len(documents)
        tally.digest.update(raw)
        return Documents(self._current, documents, len(raw))

    def _replaced(self, raw: bytes) -> Replaced:
        facts = bson.decode(raw)
        self._current = facts["name"]
        self._tallies[self._current].replaced += len(facts["ids"])
        return Replaced(self._current, facts["ids"])

    def _trailer(self, raw: bytes) -> Trailer:
        facts = bson.decode(raw, _AWARE)
        told = {
            name: {"written": each["written"], "replaced": each["replaced"], "sha256": each["sha256"]}
            for name, each in facts["collections"].items()
        }
        found = {name: tally.facts for name, tally in self._tallies.items()}
        for name in told.keys() | found.keys():
            if told.get(name) != found.get(name):
                raise DamagedBackup(_ALTERED.format(f"the collection {name} is not what was written"))
        documents = {name: each["documents"] for name, each in facts["collections"].items()}
        return Trailer(facts["instant"], facts["finished_at"], documents, "")

    def _checked(self, trailer: Trailer) -> Trailer:
        """The trailer with the file's hash, once that is right and nothing follows."""
        own = self._digest.digest()
        if self._read(DIGEST_BYTES) != own:
            raise DamagedBackup(_ALTERED.format("its SHA-256 is another one"))
        if self._file.read(1):
            raise DamagedBackup(_ALTERED.format("something follows its end"))
        return Trailer(trailer.instant, trailer.finished_at, trailer.documents, self._digest.hexdigest())

    def _expect_magic(self) -> None:
        found = self._file.read(len(MAGIC))
        if found != MAGIC:
            if found.startswith(ANY_MAGIC) and len(found) == len(MAGIC):
                raise BackupFailed("A newer version of Verbatim has written this backup: restore it with that one.")
            if found and MAGIC.startswith(found):
                raise DamagedBackup(_CUT_OFF)
            raise BackupFailed("This is no backup of `verbatim backup`.")
        self._digest.update(found)
        self.bytes += len(found)

    def _frame(self) -> tuple[bytes, bytes]:
        kind, raw_length, length = FRAME.unpack(self._read(FRAME.size))
        if max(raw_length, length) > MOST_RAW_BYTES:
            raise DamagedBackup(_ALTERED.format("a part is longer than any can be"))
        stored = self._read(length)
        decompressor = zstd.ZstdDecompressor()
        try:
            raw = decompressor.decompress(stored, max_length=raw_length)
        except zstd.ZstdError as error:
            raise DamagedBackup(_ALTERED.format("a part cannot be unpacked")) from error
        if len(raw) != raw_length or not decompressor.eof or decompressor.unused_data:
            raise DamagedBackup(_ALTERED.format("a part has another length"))
        return kind, raw

    def _read(self, length: int) -> bytes:
        data = self._file.read(length)
        if len(data) != length:
            raise DamagedBackup(_CUT_OFF)
        self._digest.update(data)
        self.bytes += length
        return data


_AWARE: bson.CodecOptions[dict[str, Any]] = bson.CodecOptions(tz_aware=True)


def _header(facts: dict[str, Any]) -> Header:
    return Header(facts["_id"], facts["verbatim"], facts["database"], facts["started_at"], facts["expected"])


def _decoded(parse: Callable[[], Part]) -> Part:
    try:
        return parse()
    except (BSONError, KeyError, TypeError, AttributeError) as error:
        raise DamagedBackup(_ALTERED.format("a part does not say what it has to")) from error


def _split(raw: bytes) -> Iterator[bytes]:
    """The documents that lie one behind the other."""
    start = 0
    while start < len(raw):
        end = start + int.from_bytes(raw[start : start + 4], "little", signed=True)
        if end - start < _SMALLEST_DOCUMENT or end > len(raw) or raw[end - 1]:
            raise DamagedBackup(_ALTERED.format("a document has another length"))
        yield raw[start:end]
        start = end
