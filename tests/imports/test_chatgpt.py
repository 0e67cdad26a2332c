"""ChatGPT's export: the branch, every kind of content, and bad conversations."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from app.imports.records import ImportedMessage

from .samples import SMALL_TREE, SURROGATE, bad, ids, node, only, read, tree


def test_the_branch_of_the_current_node_is_the_conversation(opened: Any) -> None:
    mapping = {
        "root": {"id": "root", "message": None, "parent": None, "children": ["sys"]},
        "sys": node("root", "", "system"),
        "hidden": node("sys", "secret", "system", metadata={"is_visually_hidden_from_conversation": True}),
        "q": node("hidden", "Why?", create_time=1700000001.5),
        "old": node("q", "Because.", "assistant", create_time=1700000009),
        "new": node("q", "It depends.", "assistant", create_time=1700000003, metadata={"model_slug": "gpt-x"}),
    }
    found = only(read(opened(json.dumps([tree(mapping, current_node="new", conversation_id="no")]).encode())))
    assert (found.source_id, found.title, found.position) == ("tree", "Tree", 1)
    assert found.created_at == datetime(2023, 11, 14, 22, 13, 20, 250_000, UTC)
    assert found.messages == (
        ImportedMessage("user", "Why?", datetime(2023, 11, 14, 22, 13, 21, 500_000, UTC)),
        ImportedMessage("assistant", "It depends.", datetime(2023, 11, 14, 22, 13, 23, tzinfo=UTC), "gpt-x"),
    )


@pytest.mark.parametrize("current", [{}, {"current_node": None}, {"current_node": "gone"}])
def test_without_a_current_node_the_newest_leaf_ends_the_branch(opened: Any, current: dict[str, Any]) -> None:
    mapping = {
        "q": node(None, "Q"),
        "a": node("q", "A", "assistant", create_time=3),
        "b": node("q", "B", "assistant", create_time=9),
        "c": node("q", "C", "assistant"),
    }
    found = only(read(opened(json.dumps([tree(mapping, **current)]).encode())))
    assert [message.content for message in found.messages] == ["Q", "B"]


def test_of_leaves_without_a_time_the_last_counts(opened: Any) -> None:
    mapping = {"q": node(None, "Q"), "a": node("q", "A"), "b": node("q", "B"), "c": {"message": None, "parent": "a"}}
    found = only(read(opened(json.dumps([tree(mapping)]).encode())))
    assert [message.content for message in found.messages] == ["Q", "A"]


IMAGE = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://f1", "width": 3}
CONTENTS = [
    ({"content_type": "text", "parts": ["one", "", None, "two"]}, "one\ntwo"),
    ({"content_type": "multimodal_text", "parts": [IMAGE, "look"]}, "[image: file-service://f1]\nlook"),
    ({"content_type": "multimodal_text", "parts": [{"content_type": "audio_transcription", "text": "said"}]}, "said"),
    ({"content_type": "multimodal_text", "parts": [{"odd": 1}]}, '{"odd": 1}'),
    ({"content_type": "code", "language": "python", "text": "1 + 1"}, "1 + 1"),
    ({"content_type": "execution_output", "text": "2"}, "2"),
    ({"content_type": "tether_quote", "url": "u", "domain": "d", "text": "words", "title": "T"}, "T\nu\nwords"),
    ({"content_type": "tether_browsing_display", "result": "R", "summary": None}, "R"),
    ({"content_type": "system_error", "name": "Timeout", "text": "too slow"}, "Timeout\ntoo slow"),
    ({"content_type": "thoughts", "thoughts": [{"summary": "S", "content": "C"}, 1], "source": "x"}, "S\nC\n1"),
    ({"content_type": "reasoning_recap", "content": "Thought for 3 s"}, "Thought for 3 s"),
    ({"content_type": "unheard_of", "text": "kept"}, "kept"),
    ({"content_type": "unheard_of", "值": [1]}, '{"content_type": "unheard_of", "值": [1]}'),
]


@pytest.mark.parametrize(("content", "expected"), CONTENTS, ids=[expected for _, expected in CONTENTS])
def test_every_kind_of_content_keeps_its_words(opened: Any, content: dict[str, Any], expected: str) -> None:
    found = only(read(opened(json.dumps([tree({"a": node(None, content, "tool")})]).encode())))
    assert [(message.role, message.content) for message in found.messages] == [("tool", expected)]
    kept = {"content_type": content["content_type"], "language": content.get("language")}
    assert found.messages[0].metadata == {key: value for key, value in kept.items() if value and value != "text"}


@pytest.mark.parametrize(
    "content",
    [
        {"content_type": "text", "parts": ["", " \n"]},
        {"content_type": "text"},
        {"content_type": "code", "language": "unknown", "text": ""},
        {"content_type": "thoughts", "thoughts": [], "source": "x"},
        {"content_type": "model_editable_context", "model_set_context": "", "repository": None},
        {},
    ],
)
def test_a_node_without_text_is_no_message(opened: Any, content: dict[str, Any]) -> None:
    assert only(read(opened(json.dumps([tree({"a": node(None, content)})]).encode()))).messages == ()


def test_calls_of_tools_stay_recognizable(opened: Any) -> None:
    call = node(None, {"content_type": "code", "text": "print(1)"}, "assistant", recipient="python")
    answer = node("a", "1", "tool", author={"role": "tool", "name": "python"}, recipient="all")
    found = only(read(opened(json.dumps([tree({"a": call, "b": answer}, current_node="b")]).encode())))
    assert [message.metadata for message in found.messages] == [
        {"content_type": "code", "recipient": "python"},
        {"author": "python"},
    ]


BAD_ITEMS: list[tuple[Any, str]] = [
    (7, "The item is not an object"),
    ({"id": "x"}, "The mapping is not an object"),
    (tree({"a": node("b", "x"), "b": node("a", "x")}, current_node="a"), "Node 'a' is its own ancestor"),
    (tree({"a": node("b", "x"), "b": node("a", "x")}), "Every node of the mapping is its own ancestor"),
    (tree({"a": node("gone", "x")}, current_node="a"), "Node 'gone' is missing from the mapping"),
    (tree({"a": node(None, "x") | {"parent": 3}}), "The parent of node 'a' is not an id"),
    (tree({"a": None}), "Node 'a' is not an object"),
    (tree({"a": node(None, "x", "critic")}), "Node 'a': The role 'critic' is none of"),
    (tree({"a": node(None, SURROGATE)}), "Node 'a': The content holds half of a surrogate pair"),
    (tree({"a": node(None, "x", create_time=float("nan"))}), "Node 'a': The time nan is neither"),
    (tree({"a": node(None, {"content_type": "odd", "n": float("inf")})}), "a number that JSON does not have"),
    (tree({"a": node(None, "x" * (1024 * 1024 + 1))}), "Node 'a': The content has 1,048,577 bytes of UTF-8"),
    (tree({}, id=None), "The id is missing or empty"),
    (tree({}, title="t" * 501), "The title has 501 characters"),
]


@pytest.mark.parametrize(("item", "reason"), BAD_ITEMS, ids=[reason for _, reason in BAD_ITEMS])
def test_a_bad_item_is_reported_and_the_rest_is_read(opened: Any, item: Any, reason: str) -> None:
    found = read(opened(json.dumps([SMALL_TREE, item, SMALL_TREE]).encode()))
    assert ids(found) == ["tree", "BAD", "tree"]
    assert found[1].position == 2
    assert reason in bad(found[1])


def test_bytes_that_are_not_utf_8_spoil_one_conversation(opened: Any) -> None:
    good, other = json.dumps(SMALL_TREE).encode(), json.dumps({**SMALL_TREE, "id": "other"}).encode()
    found = read(opened(b"[" + good + b"," + good.replace(b"hello", b"h\xffllo") + b"," + other + b"]"))
    assert ids(found) == ["tree", "BAD", "other"]
    assert "bytes that are not UTF-8" in bad(found[1])
