"""Invented conversations in both formats, and what is asked of every reading."""

import json
from typing import Any

from app.imports.readers import Source
from app.imports.records import BadRecord, ImportedConversation, Record

GOOD = {"id": "good", "title": "好", "tags": ["t"], "messages": [{"role": "user", "content": "hi"}]}
SURROGATE = "\ud800"


def line_of(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"


def conversation(**members: object) -> dict[str, Any]:
    return {**GOOD, **members}


def with_message(**members: object) -> dict[str, Any]:
    return conversation(messages=[GOOD["messages"][0], {"role": "user", "content": "x", **members}])


def node(parent: str | None, words: object = "", role: str = "user", **members: Any) -> dict[str, Any]:
    content = words if isinstance(words, dict) else {"content_type": "text", "parts": [words]}
    message = {"author": {"role": role}, "content": content, "create_time": None, "metadata": {}, **members}
    return {"id": "?", "parent": parent, "children": [], "message": message}


def tree(mapping: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"title": "Tree", "create_time": 1700000000.25, "mapping": mapping, "id": "tree", **members}


SMALL_TREE = tree({"r": {"id": "r", "message": None, "parent": None, "children": ["a"]}, "a": node("r", "hello")})


def read(source: Source) -> list[Record]:
    """Every record, while looking at the progress."""
    result, seen = [], 0
    for record in source:
        assert seen <= source.bytes_read <= source.size_bytes
        seen = source.bytes_read
        result.append(record)
    assert source.bytes_read == source.size_bytes
    return result


def only(found: list[Record]) -> ImportedConversation:
    assert len(found) == 1
    assert isinstance(found[0], ImportedConversation), found[0]
    return found[0]


def bad(found: Record) -> str:
    assert isinstance(found, BadRecord), found
    return found.reason


def ids(found: list[Record]) -> list[str]:
    return [record.source_id if isinstance(record, ImportedConversation) else "BAD" for record in found]
