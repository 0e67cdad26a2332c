"""Streaming the items of an array: broken JSON, cut files, boundaries of reads, memory."""

import gzip
import json
import tracemalloc
from typing import Any

import pytest

from app.imports import json_array
from app.imports.records import ImportedConversation

from .samples import SMALL_TREE, bad, ids, node, read, tree, with_message


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (b',{"id": "x", "mapping" 3},' + b" " * 100 + b"{}]", "it is not valid JSON: Expecting ':' delimiter"),
        (b',{"id": "x', "it is not valid JSON: Unterminated string"),
        (b",", "it is not valid JSON: Expecting value"),
        (b",]", "it is not valid JSON"),
        (b"", "the file ends in the array"),
        (b" {}]", "',' or ']' is missing before '{'"),
        (b"] []", "there is more text after the end of the array"),
        (b"," + b"[" * 200_000, "it cannot be decoded"),
        (b"," + b"9" * 5000 + b"]", "it cannot be decoded"),
    ],
)
def test_broken_json_ends_the_array(opened: Any, tail: bytes, reason: str) -> None:
    found = read(opened(b"[" + json.dumps(SMALL_TREE).encode() + tail))
    assert ids(found) == ["tree", "BAD"]
    assert found[1].position == 2
    assert bad(found[1]).startswith("Nothing could be read from here on: ")
    assert reason in bad(found[1])


def test_an_empty_array_has_no_conversations(opened: Any) -> None:
    assert read(opened(b" [ ] ")) == []


@pytest.mark.parametrize("chunk", [1, 2, 7, 64])
def test_items_do_not_depend_on_where_the_reads_end(opened: Any, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(json_array, "CHUNK", chunk)
    words = 'escaped \\ " \n é 好 🙂 ' + "long " * 50
    value = [123456, tree({"a": node(None, words, create_time=-1234567890.5)}), True, SMALL_TREE]
    for data in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=20)):
        found = read(opened(data.encode()))
        assert ids(found) == ["BAD", "tree", "BAD", "tree"]
        assert isinstance(found[1], ImportedConversation)
        assert found[1].messages[0].content == words


def test_an_item_over_the_limit_ends_the_array(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_array, "CHUNK", 64)
    monkeypatch.setattr(json_array, "ITEM_LIMIT", 1000)
    found = read(opened(json.dumps([SMALL_TREE, tree({"a": node(None, "x" * 5000)}), SMALL_TREE]).encode()))
    assert ids(found) == ["tree", "BAD"]
    assert "longer than 1,000 characters" in bad(found[1])


def test_an_array_cut_short_keeps_the_items_before(opened: Any) -> None:
    items = [{**SMALL_TREE, "id": str(n)} for n in range(300)]
    packed = gzip.compress(json.dumps(items).encode(), compresslevel=0)
    found = read(opened(packed[: len(packed) // 2]))
    assert ids(found[:-1]) == [str(n) for n in range(len(found) - 1)]
    assert len(found) > 140
    assert found[-1].position == len(found)
    assert bad(found[-1]) == "Nothing could be read from here on: the compressed data ends too early"


def test_an_array_cut_right_after_an_item_keeps_it(opened: Any) -> None:
    last = json.dumps({**SMALL_TREE, "id": "last"}).encode()
    packed = gzip.compress(b"[" + json.dumps(SMALL_TREE).encode() + b"," + last + b"]", compresslevel=0)
    found = read(opened(packed[: packed.index(last) + len(last)]))
    assert ids(found) == ["tree", "last", "BAD"]


@pytest.mark.parametrize("as_array", [False, True])
def test_memory_does_not_grow_with_the_file(opened: Any, as_array: bool) -> None:
    words = "0123456789" * 2000
    value = tree({"a": node(None, words)}) if as_array else with_message(content=words)
    text = json.dumps(value).encode()
    data = b"[" + b",".join([text] * 1500) + b"]" if as_array else b"\n".join([text] * 1500)
    source = opened(gzip.compress(data, compresslevel=1))
    size = len(data)
    del data
    tracemalloc.start()
    count = sum(isinstance(record, ImportedConversation) for record in source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 1500
    assert size > 30_000_000
    assert peak < 12_000_000
