"""Opening files: formats told by content, gzip and zip, damage, progress, and files that cannot be read."""

import gzip
import io
import json
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest

from app.imports.readers import open_source
from app.imports.streams import DamagedError, Entry, UnreadableSource

from .samples import GOOD, SMALL_TREE, bad, conversation, ids, line_of, node, only, read, tree


def zipped(**entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("chat.html", "<html>")
        for name, data in entries.items():
            archive.writestr(name.replace("__", "/") + ".json", data)
    return buffer.getvalue()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json", "a"])
def test_the_first_bytes_tell_the_kind_not_the_name(opened: Any, pack: Any, name: str) -> None:
    assert opened(pack(line_of(GOOD)), name).format == "jsonl"
    source = opened(pack(json.dumps([SMALL_TREE], indent=1).encode()), name)
    assert source.format == "chatgpt"
    assert ids(read(source)) == ["tree"]


def test_a_source_can_be_read_twice_and_left_early(opened: Any) -> None:
    source = opened(line_of(GOOD) * 3)
    next(iter(source))
    assert read(source) == read(source)
    assert len(read(source)) == 3


def test_progress_follows_the_compressed_bytes(opened: Any) -> None:
    noise = random.Random(7)
    lines = [line_of(conversation(id=str(n), title=noise.randbytes(200).hex())) for n in range(2000)]
    source = opened(gzip.compress(b"".join(lines)))
    steps = [source.bytes_read for _ in source]
    assert steps == sorted(steps)
    assert 0.3 < steps[1000] / source.size_bytes < 0.7
    assert source.bytes_read == source.size_bytes


def test_progress_in_a_zip_is_in_proportion(opened: Any) -> None:
    noise = random.Random(7)
    items = [tree({"a": node(None, noise.randbytes(5000).hex())}) for _ in range(600)]
    source = opened(zipped(conversations=json.dumps(items).encode()))
    steps = [source.bytes_read for _ in source]
    assert steps == sorted(steps)
    assert 0.3 < steps[300] / source.size_bytes < 0.7
    assert source.bytes_read == source.size_bytes


def test_a_damage_is_told_even_if_the_stream_tells_it_once() -> None:
    class Once(io.BytesIO):
        def __init__(self) -> None:
            super().__init__()
            self.answers: list[bytes | EOFError] = [b"ab", EOFError(), b"", b""]

        def read1(self, size: int | None = -1, /) -> bytes:
            answer = self.answers.pop(0)
            if isinstance(answer, EOFError):
                raise answer
            return answer

    entry = Entry(Once(), lambda: 0)
    assert entry.read(10) == b"ab"
    for _ in range(2):
        with pytest.raises(DamagedError, match="ends too early"):
            entry.read(10)


@pytest.mark.parametrize("cut", [9, 500, 3000])
def test_a_gzip_that_ends_too_early_gives_everything_before(opened: Any, cut: int) -> None:
    noise = random.Random(7)
    lines = [line_of(conversation(id=str(n), title=noise.randbytes(100).hex())) for n in range(200)]
    packed = gzip.compress(b"".join(lines))
    found = read(opened(packed[:-cut]))
    assert ids(found[:-1]) == [str(n) for n in range(len(found) - 1)]
    assert bad(found[-1]) == "Nothing could be read from here on: the compressed data ends too early"
    assert found[-1].position == len(found)
    # At 100 bytes of hexadecimal noise each, a line takes more than 50 compressed bytes.
    assert len(found) - 1 >= 200 - cut / 50 - 1


def test_a_gzip_that_is_damaged_gives_everything_before(opened: Any) -> None:
    noise = random.Random(7)
    lines = [line_of(conversation(id=str(n), title=noise.randbytes(200).hex())) for n in range(500)]
    packed = bytearray(gzip.compress(b"".join(lines)))
    packed[len(packed) // 2 : len(packed) // 2 + 4000] = bytes(4000)
    found = read(opened(bytes(packed)))
    assert "the compressed data" in bad(found[-1])
    assert 100 < len(found) < 400
    wrong_sum = bytearray(gzip.compress(line_of(GOOD)))
    wrong_sum[-5] ^= 0xFF
    assert ids(read(opened(bytes(wrong_sum)))) == ["good", "BAD"]


def test_a_gzip_of_two_members_is_one_file(opened: Any) -> None:
    assert ids(read(opened(gzip.compress(line_of(GOOD)) + gzip.compress(line_of(GOOD))))) == ["good", "good"]


def test_an_export_in_a_zip(opened: Any) -> None:
    source = opened(zipped(user=b"{}", folder__conversations=json.dumps([SMALL_TREE]).encode()), "export.zip")
    assert source.format == "chatgpt"
    assert only(read(source)).messages[0].content == "hello"


def test_an_export_in_numbered_parts(opened: Any) -> None:
    def part(*names: str) -> bytes:
        return json.dumps([{**SMALL_TREE, "id": name} for name in names]).encode()

    parts = {
        "conversations-001": part("c")[:-1] + b",oops",
        "conversations-000": part("a", "b"),
        "conversations-002": part("d"),
    }
    found = read(opened(zipped(**parts)))
    assert ids(found) == ["a", "b", "c", "BAD", "d"]
    assert [record.position for record in found] == [1, 2, 3, 4, 5]
    assert bad(found[3]).startswith("conversations-001.json: Nothing could be read from here on")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_with_a_wrong_checksum_says_so(opened: Any, method: int) -> None:
    noise = random.Random(7)
    items = [{**SMALL_TREE, "id": str(n), "title": noise.randbytes(200).hex()} for n in range(3000)]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("conversations.json", json.dumps(items))
    data = bytearray(buffer.getvalue())
    data[data.rindex(b"PK\x01\x02") + 16] ^= 0xFF
    found = read(opened(bytes(data)))
    assert ids(found)[0] == "0"
    assert "the compressed data is damaged" in bad(found[-1])


def encrypted_zip() -> bytes:
    data = bytearray(zipped(conversations=b"[]"))
    for at in (data.rindex(b"PK\x03\x04") + 6, data.rindex(b"PK\x01\x02") + 8):
        data[at] |= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "x is empty"),
        (b"\xef\xbb\xbf \n\n", "x is empty"),
        (gzip.compress(b""), "x is empty"),
        (gzip.compress(line_of(GOOD))[:8], "x cannot be read: the compressed data ends too early"),
        (b"\x1f\x8bnot gzip at all, though it says so", "x cannot be read: the compressed data is damaged"),
        (b"\x89PNG\r\n\x1a\n\0\0", "x is neither JSON Lines (an object per line, in UTF-8), a table"),
        (
            b"id,title\n1,2\n",
            "x has no column for conversation_id and role and content: say which one it is, such as conversation_id=",
        ),
        (json.dumps(GOOD).encode("utf-16"), "x is neither JSON Lines"),
        (b'{\n  "id": "x"\n}\n', "x is neither JSON Lines"),
        (json.dumps([GOOD]).encode(), "x is a JSON array, but not of an export that is known"),
        (b"PK\x03\x04" + b"x" * 100, "x is a damaged zip file"),
        (zipped(user=b"{}"), "x is a zip file, but neither a workbook nor one with a conversations.json"),
        (encrypted_zip(), "encrypted"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_cannot_be_imported(opened: Any, data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableSource) as caught:
        opened(data, "x")
    assert reason in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "absent", "absent does not exist"),
        (tmp_path, "is a folder or a device, not a file"),
        (tmp_path / ("n" * 300), "cannot be opened"),
        (tmp_path / "a\0b", "is not a name of a file"),
    ):
        with pytest.raises(UnreadableSource, match=reason):
            open_source(path)


def test_a_file_that_vanished_says_so(opened: Any, tmp_path: Path) -> None:
    source = opened(line_of(GOOD))
    (tmp_path / "file").unlink()
    with pytest.raises(UnreadableSource, match="cannot be opened"):
        list(source)
