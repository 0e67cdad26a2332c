"""The file: what was written is read, and nothing else."""

import io
from datetime import UTC, datetime

import bson
import pytest
from bson.timestamp import Timestamp

from app.backups.failures import BackupFailed, DamagedBackup
from app.backups.frames import MAGIC, BackupWriter
from app.backups.reading import BackupReader, Collection, Documents, Header, Part, Replaced, Trailer

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def backup() -> bytes:
    file = io.BytesIO()
    writer = BackupWriter(file)
    writer.begin(
        {"_id": bson.ObjectId(), "verbatim": "1", "database": "d", "started_at": STARTED, "expected": {"rows": 3}}
    )
    writer.collection({"name": "rows", "type": "collection", "options": {}, "indexes": [{"name": "_id_"}]})
    writer.documents([bson.encode({"_id": number}) for number in range(3)], 3)
    writer.replaced("rows", [1, 2])
    writer.documents([bson.encode({"_id": 2, "new": True})], 1)
    facts = {"instant": Timestamp(5, 1), "finished_at": STARTED}
    digest = writer.finish(facts, {"rows": 2})
    assert len(digest) == 32
    assert writer.bytes == len(file.getvalue())
    return file.getvalue()


def read(data: bytes) -> list[Part]:
    return list(BackupReader(io.BytesIO(data)))


def test_what_was_written_is_read() -> None:
    header, collection, documents, replaced, newer, trailer = read(backup())

    assert isinstance(header, Header)
    assert (header.database, header.started_at, header.expected) == ("d", STARTED, {"rows": 3})
    assert collection == Collection("rows", "collection", {}, [{"name": "_id_"}])
    assert isinstance(documents, Documents)
    assert [bson.decode(each) for each in documents.documents] == [{"_id": 0}, {"_id": 1}, {"_id": 2}]
    assert replaced == Replaced("rows", [1, 2])
    assert isinstance(newer, Documents)
    assert isinstance(trailer, Trailer)
    assert (trailer.instant, trailer.documents) == (Timestamp(5, 1), {"rows": 2})


def test_its_hash_is_the_one_of_its_bytes() -> None:
    import hashlib

    data = backup()
    trailer = read(data)[-1]

    assert isinstance(trailer, Trailer)
    assert trailer.sha256 == hashlib.sha256(data).hexdigest()


def test_a_file_that_was_cut_off_anywhere_is_refused() -> None:
    data = backup()

    for length in range(1, len(data)):
        with pytest.raises(DamagedBackup, match="cut off"):
            read(data[:length])


def test_a_file_in_which_any_byte_was_changed_is_refused() -> None:
    data = backup()

    for place in range(len(data)):
        with pytest.raises(BackupFailed):
            read(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "no backup"),
        (b"PK\x03\x04" + bytes(100), "no backup"),
        (MAGIC.replace(b"1", b"2") + bytes(100), "newer version"),
        (backup() + b"\n", "something follows"),
        (MAGIC + b"H\xff\xff\xff\xff\xff\xff\xff\xff", "longer than any can be"),
    ],
)
def test_other_files_are_refused_with_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(BackupFailed, match=sentence):
        read(data)


def test_a_payload_that_unpacks_to_more_than_it_says_is_refused() -> None:
    from backports import zstd

    from app.backups.frames import FRAME

    bomb = zstd.compress(bytes(10_000_000))

    with pytest.raises(DamagedBackup, match="another length"):
        read(MAGIC + FRAME.pack(b"H", 100, len(bomb)) + bomb)
