"""ChatGPT's export: an array of conversations, each a tree of messages of which the shown branch is read.

That branch is the path from the root to `current_node`, or to the newest leaf where there is none. Left out are
branches that were regenerated or edited away, messages hidden from the user, and nodes without text. All else is kept:
images and sound as a reference in brackets, kinds of content that are not known as their text, or as JSON.
"""

import json
import reprlib
from collections.abc import Iterator
from typing import Any

from app.imports.json_array import ArrayReader, BrokenArrayError
from app.imports.records import (
    BadRecord,
    ImportedConversation,
    ImportedMessage,
    Record,
    RefusedError,
    build_conversation,
    build_message,
)
from app.imports.streams import DamagedError, Entry

Object = dict[str, Any]

# The members that hold the words, by content_type; of others, `parts` or `text`.
_TEXT_MEMBERS = {
    "code": ("text",),
    "execution_output": ("text",),
    "reasoning_recap": ("content",),
    "system_error": ("name", "text"),
    "tether_browsing_display": ("result", "summary"),
    "tether_quote": ("title", "url", "text"),
}


def read_conversations(entry: Entry, first: int = 1) -> Iterator[Record]:
    """A record for each item of the array, counted from `first`; broken JSON ends the array with a `BadRecord`."""
    position = first
    try:
        for item in ArrayReader(entry):
            yield _record(item, position)
            position += 1
    except (BrokenArrayError, DamagedError) as error:
        yield BadRecord(position, f"Nothing could be read from here on: {error}")


def _record(item: object, position: int) -> Record:
    try:
        return _conversation(_object(item, "The item"), position)
    except RefusedError as error:
        return BadRecord(position, str(error))


def _object(value: object, what: str) -> Object:
    if not isinstance(value, dict):
        raise RefusedError(f"{what} is not an object")
    return value


def _conversation(item: Object, position: int) -> ImportedConversation:
    nodes = _nodes(item.get("mapping"))
    messages = [
        _message(node_id, nodes[node_id].get("message")) for node_id in _branch(nodes, item.get("current_node"))
    ]
    return build_conversation(
        position,
        source_id=item.get("id") or item.get("conversation_id"),
        title=item.get("title"),
        tags=None,
        messages=[message for message in messages if message is not None],
        created_at=item.get("create_time"),
    )


def _nodes(mapping: object) -> dict[str, Object]:
    nodes = {
        node_id: _object(node, f"Node {reprlib.repr(node_id)}")
        for node_id, node in _object(mapping, "The mapping").items()
    }
    for node_id, node in nodes.items():
        if not isinstance(node.get("parent"), str | None):
            raise RefusedError(f"The parent of node {reprlib.repr(node_id)} is not an id")
    return nodes


def _branch(nodes: dict[str, Object], current: object) -> list[str]:
    """The ids from the root to the current node."""
    node_id = current if isinstance(current, str) and current in nodes else _newest_leaf(nodes)
    branch: dict[str, None] = {}
    while node_id:
        if node_id not in nodes:
            raise RefusedError(f"Node {reprlib.repr(node_id)} is missing from the mapping")
        if node_id in branch:
            raise RefusedError(f"Node {reprlib.repr(node_id)} is its own ancestor")
        branch[node_id] = None
        node_id = nodes[node_id].get("parent")
    return list(reversed(branch))


def _newest_leaf(nodes: dict[str, Object]) -> str | None:
    parents = {node.get("parent") for node in nodes.values()}
    leaves = [node_id for node_id in nodes if node_id not in parents]
    if nodes and not leaves:
        raise RefusedError("Every node of the mapping is its own ancestor")
    # The last of several with the same time, or with none.
    return max(reversed(leaves), key=lambda node_id: _create_time(nodes[node_id]), default=None)


def _create_time(node: Object) -> float:
    message = node.get("message")
    time = message.get("create_time") if isinstance(message, dict) else None
    return time if isinstance(time, int | float) else float("-inf")


def _message(node_id: str, value: object) -> ImportedMessage | None:
    """The message of a node, or None if it has none, is hidden, or has no text."""
    try:
        message = _object(value or {}, "The message")
        metadata = _object(message.get("metadata") or {}, "The metadata")
        content = _object(message.get("content") or {}, "The content")
        author = _object(message.get("author") or {}, "The author")
        words = _words(content)
        if metadata.get("is_visually_hidden_from_conversation") is True or not words.strip():
            return None
        return build_message(
            author.get("role"),
            words,
            created_at=message.get("create_time"),
            model=metadata.get("model_slug"),
            metadata=_kept(content, author, message.get("recipient")),
        )
    except RefusedError as error:
        raise RefusedError(f"Node {reprlib.repr(node_id)}: {error}") from error


def _kept(content: Object, author: Object, recipient: object) -> dict[str, str]:
    """What tells a call of a tool, its code and its answer from things said to the user."""
    pairs = (
        ("content_type", content.get("content_type"), "text"),
        ("language", content.get("language"), "unknown"),
        ("author", author.get("name"), None),
        ("recipient", recipient, "all"),
    )
    return {key: value for key, value, usual in pairs if isinstance(value, str) and value and value != usual}


def _words(content: Object) -> str:
    kind = content.get("content_type")
    members = _TEXT_MEMBERS.get(kind, ("text",)) if isinstance(kind, str) else ("text",)
    texts = [content[member] for member in members if isinstance(content.get(member), str)]
    if isinstance(content.get("parts"), list):
        texts = [_part(part) for part in content["parts"]]
    elif kind == "thoughts" and isinstance(content.get("thoughts"), list):
        texts = [_thought(thought) for thought in content["thoughts"]]
    elif not texts and any(value for member, value in content.items() if member != "content_type"):
        return _dump(content)
    return "\n".join(text for text in texts if text)


def _part(part: object) -> str:
    if part is None or isinstance(part, str):
        return part or ""
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    if isinstance(part, dict) and isinstance(part.get("asset_pointer"), str):
        kind = str(part.get("content_type") or "asset").removesuffix("_asset_pointer")
        return f"[{kind}: {part['asset_pointer']}]"
    return _dump(part)


def _thought(thought: object) -> str:
    if isinstance(thought, dict) and all(isinstance(thought.get(member), str) for member in ("summary", "content")):
        return f"{thought['summary']}\n{thought['content']}".strip()
    return _dump(thought)


def _dump(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise RefusedError(f"The content has a number that JSON does not have: {error}") from error
