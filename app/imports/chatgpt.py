"""ChatGPT's export: an array of conversations, each a tree of messages of which the shown branch is read.

That branch is the path from the root to `current_node`, or to the newest leaf where there is none. Left out are
branches that were regenerated or edited away, messages hidden from the user, and nodes without text. All else is kept:
images and sound as a reference in brackets, kinds of content that are not known as their text, or as JSON.
"""

import reprlib
from typing import Any

from app.imports.answers import dump
from app.imports.fields import RefusedError
from app.imports.items import as_object
from app.imports.records import ImportedConversation, ImportedMessage, build_conversation, build_message
from app.imports.trees import branch

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


def conversation(item: Object, position: int) -> ImportedConversation:
    """The conversation of an item of the array; raises RefusedError."""
    nodes = _nodes(item.get("mapping"))
    parents = {node_id: node.get("parent") for node_id, node in nodes.items()}
    shown = branch(parents, item.get("current_node"), lambda node_id: _create_time(nodes[node_id]))
    messages = [_message(node_id, nodes[node_id].get("message")) for node_id in shown]
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
        node_id: as_object(node, f"Node {reprlib.repr(node_id)}")
        for node_id, node in as_object(mapping, "The mapping").items()
    }
    for node_id, node in nodes.items():
        if not isinstance(node.get("parent"), str | None):
            raise RefusedError(f"The parent of node {reprlib.repr(node_id)} is not an id")
    return nodes


def _create_time(node: Object) -> float:
    message = node.get("message")
    time = message.get("create_time") if isinstance(message, dict) else None
    return time if isinstance(time, int | float) else float("-inf")


def _message(node_id: str, value: object) -> ImportedMessage | None:
    """The message of a node, or None if it has none, is hidden, or has no text."""
    try:
        message = as_object(value or {}, "The message")
        metadata = as_object(message.get("metadata") or {}, "The metadata")
        content = as_object(message.get("content") or {}, "The content")
        author = as_object(message.get("author") or {}, "The author")
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
        return dump(content)
    return "\n".join(text for text in texts if text)


def _part(part: object) -> str:
    if part is None or isinstance(part, str):
        return part or ""
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    if isinstance(part, dict) and isinstance(part.get("asset_pointer"), str):
        kind = str(part.get("content_type") or "asset").removesuffix("_asset_pointer")
        return f"[{kind}: {part['asset_pointer']}]"
    return dump(part)


def _thought(thought: object) -> str:
    if isinstance(thought, dict) and all(isinstance(thought.get(member), str) for member in ("summary", "content")):
        return f"{thought['summary']}\n{thought['content']}".strip()
    return dump(thought)
