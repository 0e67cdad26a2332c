"""Exports of other applications with anything at all in the place of any value: read or refused, never an accident."""

import copy
import io
import json
import random
import zipfile
from collections.abc import Iterator
from typing import Any

import openpyxl
import pytest

from app.imports import streams
from app.imports.streams import UnreadableSource

from .samples import (
    CLAUDE,
    LANGCHAIN,
    LIBRECHAT,
    LIBRECHAT_RECURSIVE,
    OPENWEBUI,
    SMALL_TREE,
    bad,
    conversation,
    line_of,
    read,
)

JUNK: tuple[Any, ...] = (
    *(None, True, 0, -1, 10**30, 1.5, float("nan"), "", "x", "\ud800", "\0", "9" * 400, "2026-13-45"),
    *([], {}, [None], [[]], {"": None}, {"$oid": 5}, {"type": None}, [{"type": "text", "text": 5}]),
)
SAMPLES: dict[str, Any] = {
    "jsonl": conversation(created_at="2026-01-01T00:00:00Z"),
    "chatgpt": [SMALL_TREE],
    "claude": [CLAUDE],
    "librechat": LIBRECHAT,
    "recursive": LIBRECHAT_RECURSIVE,
    "openwebui": [OPENWEBUI],
    "langchain": [LANGCHAIN[2]],
    "rows": {
        "id": "6b084404aa9d6ca2a4290349",
        "conversation_id": "6b084404aa9d6ca2a4290348",
        "seq": 1,
        "role": "user",
        "content": "hi",
        "status": "complete",
        "usage": {"prompt": 1, "completion": 2, "total": 3},
        "cost": 0.5,
        "feedback": {"rating": "up", "comment": None},
        "metadata": {"a": "b"},
        "created_at": 1700000000,
        "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
        "error": None,
    },
}
Place = tuple[Any, Any]


def places(value: Any) -> Iterator[Place]:
    """Every container with each of its keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from places(inner)


@pytest.mark.parametrize("sample", SAMPLES)
def test_any_value_anywhere_is_read_or_refused(opened: Any, sample: str) -> None:
    chance = random.Random(sample)
    spoilt = []
    for junk in JUNK:
        for _ in range(8):
            value = copy.deepcopy(SAMPLES[sample])
            container, key = chance.choice(list(places(value)))
            container[key] = junk
            spoilt.append(value)
    if isinstance(SAMPLES[sample], list):
        source = opened(json.dumps([*SAMPLES[sample], *(item for items in spoilt for item in items)]).encode())
    else:
        source = opened(b"".join(map(line_of, [SAMPLES[sample], *spoilt])))
    assert read(source)


def test_messages_without_ids_are_not_lost(opened: Any) -> None:
    item: dict[str, Any] = copy.deepcopy(LIBRECHAT)
    for message in item["messages"]:
        del message["messageId"]
    (found,) = read(opened(json.dumps(item).encode()))
    assert bad(found) == "Two of the messages have the same messageId, or none"


def test_a_workbook_that_unpacks_to_too_much_is_refused(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    book = openpyxl.Workbook()
    book.active.append(["conversation", "role", "content"])
    buffer = io.BytesIO()
    book.save(buffer)
    monkeypatch.setattr(streams, "HELD_PART_LIMIT", 100)
    with pytest.raises(UnreadableSource, match="which is too much"):
        opened(buffer.getvalue())


def test_a_zip_that_only_says_that_it_is_a_workbook_is_refused(opened: Any) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("xl/workbook.xml", "<nonsense")
    with pytest.raises(UnreadableSource, match="is a damaged workbook"):
        opened(buffer.getvalue())


def test_a_workbook_with_any_byte_changed_is_read_or_refused(opened: Any) -> None:
    book = openpyxl.Workbook()
    for row in (["conversation", "role", "content"], *([f"c-{n % 3}", "user", f"hi {n}"] for n in range(20))):
        book.active.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    chance = random.Random(5)
    refused = 0
    for _ in range(80):
        data = bytearray(buffer.getvalue())
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            read(opened(bytes(data)))
        except UnreadableSource:
            refused += 1
    assert 0 < refused < 80
