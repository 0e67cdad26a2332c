"""The bytes of a file, decompressed as they are read: plain, gzip, or the conversations in a zip; a workbook as it is.

The kind is told from the first bytes, never from the name. A file that ends too early or is damaged gives everything
before the damage, then `DamagedError`: never a silent end.
"""

import gzip
import re
import zipfile
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import BinaryIO, Protocol, cast

GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
# One file in older exports of ChatGPT; numbered ones, conversations-000.json and on, since 2026.
ZIPPED_NAME = re.compile(r"(?:^|/)conversations(?:-\d+)?\.json$")


WORKBOOK_PART = "xl/workbook.xml"
WORKBOOK_PART_LIMIT = 8 * 1024 * 1024 * 1024  # bytes, unpacked; a full sheet of long texts has some
HELD_PARTS = ("xl/sharedStrings.xml", "xl/styles.xml", WORKBOOK_PART)
HELD_PART_LIMIT = 512 * 1024 * 1024  # bytes, unpacked: these are held in memory while the workbook is read


class UnreadableSource(Exception):
    """A file that cannot be imported at all; the text is one sentence that may be shown to the client."""


class DamagedError(Exception):
    """Compressed data that ends too early or is broken; the text says which."""


_DAMAGE: dict[type[Exception], str] = {
    EOFError: "the compressed data ends too early",
    zlib.error: "the compressed data is damaged",
    gzip.BadGzipFile: "the compressed data is damaged",
    zipfile.BadZipFile: "the compressed data is damaged",
}


class Readable(Protocol):
    """What plain, gzip and zip streams have in common; `read1` gives b"" only at the end."""

    def read1(self, size: int, /) -> bytes: ...
    def readline(self, limit: int, /) -> bytes: ...


class Entry:
    """One stream of bytes in a file; `consumed()` tells how many bytes of the file itself were used for it so far."""

    def __init__(
        self, stream: Readable, consumed: Callable[[], int], name: str = "", workbook: BinaryIO | None = None
    ) -> None:
        """`name`: of a part among several, empty when the file is the only one; `workbook`: the file, if it is one."""
        self.name = name
        self.workbook = workbook
        self.consumed = consumed
        self._stream = stream
        self._damage: DamagedError | None = None

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer only before the end or a damage, none at the end; raises `DamagedError` after that."""
        if self._damage is not None:
            raise self._damage
        parts: list[bytes] = []
        missing = size
        try:
            while missing and (part := self._stream.read1(missing)):
                parts.append(part)
                missing -= len(part)
        except tuple(_DAMAGE) as error:
            # What was read before is worth having, and some streams tell of a damage only once.
            self._damage = _damaged(error)
            if not parts:
                raise self._damage from error
        return b"".join(parts)

    def readline(self, limit: int) -> bytes:
        """The bytes up to and with the next newline, at most `limit`; none at the end; raises `DamagedError`."""
        try:
            return self._stream.readline(limit)
        except tuple(_DAMAGE) as error:
            raise _damaged(error) from error


def _damaged(error: Exception) -> DamagedError:
    return DamagedError(next(sentence for kind, sentence in _DAMAGE.items() if isinstance(error, kind)))


def open_entries(path: Path) -> Generator[Entry, None, None]:
    """The streams in the file, each open until the next is asked for; raises `UnreadableSource`."""
    try:
        raw = path.open("rb")
    except OSError as error:
        raise UnreadableSource(f"{path.name} cannot be opened: {error.strerror}") from error
    with raw:
        magic = raw.read(4)
        raw.seek(0)
        if magic in ZIP_MAGIC:
            yield from _zip_entries(path.name, raw)
        elif magic.startswith(GZIP_MAGIC):
            with gzip.GzipFile(fileobj=raw) as stream:
                yield Entry(stream, raw.tell)
        else:
            yield Entry(raw, raw.tell)


def _zip_entries(name: str, raw: BinaryIO) -> Generator[Entry, None, None]:
    try:
        with zipfile.ZipFile(raw) as archive:
            if any(info.filename == WORKBOOK_PART for info in archive.infolist()):
                yield _workbook(name, archive, raw)
                return
            infos = sorted(_importable(name, archive), key=lambda info: info.filename)
            done = 0
            for info in infos:
                # What is opened to read is a ZipExtFile, although it is declared less.
                with cast("zipfile.ZipExtFile", archive.open(info)) as stream:
                    yield Entry(stream, _zip_progress(stream, info, done), name=info.filename if len(infos) > 1 else "")
                done += info.compress_size
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise UnreadableSource(f"{name} is a damaged zip file: {error}") from error


def _workbook(name: str, archive: zipfile.ZipFile, raw: BinaryIO) -> Entry:
    for info in archive.infolist():
        if info.file_size > WORKBOOK_PART_LIMIT or (info.filename in HELD_PARTS and info.file_size > HELD_PART_LIMIT):
            raise UnreadableSource(f"{info.filename} in {name} has {info.file_size:,} bytes, which is too much")
    return Entry(cast("Readable", raw), raw.tell, workbook=raw)


def _importable(name: str, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    infos = [info for info in archive.infolist() if ZIPPED_NAME.search(info.filename)]
    if not infos:
        raise UnreadableSource(f"{name} is a zip file, but neither a workbook nor one with a conversations.json")
    for info in infos:
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UnreadableSource(f"{info.filename} in {name} is encrypted or compressed in an uncommon way")
    return infos


def _zip_progress(stream: zipfile.ZipExtFile, info: zipfile.ZipInfo, done: int) -> Callable[[], int]:
    # A zip stream does not tell its place in the file, so compressed bytes are taken in proportion.
    return lambda: done + info.compress_size * stream.tell() // max(info.file_size, 1)
