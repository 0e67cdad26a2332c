"""Exports of other applications: what was shown, with thoughts, tools and ratings where our transcripts have them."""

import copy
import gzip
import io
import json
import zipfile
from datetime import UTC, datetime
from typing import Any

import pytest

from app.imports.records import ImportedConversation

from .samples import (
    CLAUDE,
    LANGCHAIN,
    LIBRECHAT,
    LIBRECHAT_RECURSIVE,
    OPENWEBUI,
    bad,
    ids,
    langchain_document,
    line_of,
    only,
    read,
)

Messages = list[tuple[str, str]]


def said(found: ImportedConversation) -> Messages:
    return [(message.role, message.content) for message in found.messages]


def indented(value: object) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def test_claude_s_export_has_the_branch_that_was_shown(opened: Any) -> None:
    source = opened(indented([CLAUDE]))
    found = only(read(source))

    assert source.format == "claude"
    assert (found.source_id, found.title) == (CLAUDE["uuid"], "Planning a trip 旅行")
    assert found.created_at == datetime(2026, 3, 29, 7, 6, 34, 84000, UTC)
    assert said(found) == [
        ("user", "Where to go?\n\n[attachment: list.txt]\nOslo\nBergen\n\n[file: map.png]"),
        ("assistant", "Let me look."),
        ("tool", "rain, 8 °C"),
        ("assistant", "To Bergen, with an umbrella."),
    ]
    call = found.messages[1]
    assert call.reasoning == "It rains there."
    assert call.tool_calls == [
        {"id": "toolu_01", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bergen"}'}}
    ]
    assert found.messages[2].tool_call_id == "toolu_01"
    assert found.messages[3].created_at == datetime(2026, 3, 29, 7, 7, 12, 364000, UTC)


def test_claude_s_older_export_is_a_list_of_texts(opened: Any) -> None:
    messages = [{"uuid": str(n), "text": f"t{n}", "sender": who} for n, who in enumerate(("human", "assistant"))]
    found = read(opened(indented([{"uuid": "old", "name": "", "chat_messages": messages}])))

    assert said(only(found)) == [("user", "t0"), ("assistant", "t1")]


def test_claude_s_zip_has_other_files_beside_the_conversations(opened: Any) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("users.json", "[]")
        archive.writestr("projects.json", "[]")
        archive.writestr("conversations.json", json.dumps([CLAUDE]))
    source = opened(buffer.getvalue(), "data-2026-03-29-batch-0000.zip")

    assert (source.format, only(read(source)).title) == ("claude", CLAUDE["name"])


@pytest.mark.parametrize("item", [LIBRECHAT, LIBRECHAT_RECURSIVE], ids=["flat", "recursive"])
def test_librechat_s_export_has_the_branch_of_the_newest_leaf(opened: Any, item: dict[str, Any]) -> None:
    source = opened(indented(item))
    found = only(read(source))

    assert source.format == "librechat"
    assert (found.source_id, found.title, found.system_prompt, found.model) == (
        *(LIBRECHAT["conversationId"], "Original", "Tell stories.", "gpt-4o"),
    )
    assert said(found) == [
        ("user", "A story?"),
        ("assistant", ""),
        ("tool", "Smaug"),
        ("assistant", "Once upon a time, Smaug…"),
    ]
    last = found.messages[-1]
    assert (last.provider, last.finish_reason, last.feedback) == (
        *("azureOpenAI", "stop", {"rating": "up", "comment": "lovely"}),
    )
    assert found.messages[1].reasoning == "A dragon, perhaps."
    assert found.messages[1].feedback is None  # of the whole answer, so it is there once


def test_librechat_s_answer_that_was_cut_off_is_interrupted(opened: Any) -> None:
    cut = {**LIBRECHAT, "messages": LIBRECHAT["messages"][:2]}  # type: ignore[index]
    assert [message.status for message in only(read(opened(indented(cut)))).messages] == ["complete", "interrupted"]


def test_open_webui_s_export_has_the_branch_that_was_shown(opened: Any) -> None:
    source = opened(indented([OPENWEBUI]))
    found = only(read(source))

    assert source.format == "openwebui"
    assert (found.title, found.tags, found.status, found.system_prompt) == (
        *("Weather", ("weather",), "archived", "Be brief."),
    )
    assert said(found) == [
        ("user", "Weather in Paris?"),
        ("assistant", ""),
        ("tool", "18C, rain"),
        ("assistant", "18 degrees."),
    ]
    last = found.messages[-1]
    assert last.usage == {"prompt": 7, "completion": 5, "total": 12}
    assert last.feedback == {"rating": "down", "comment": "too short"}
    assert last.created_at == datetime.fromtimestamp(1700001020, UTC)


def test_open_webui_s_messages_without_output_are_taken_as_they_are(opened: Any) -> None:
    item: dict[str, Any] = copy.deepcopy(OPENWEBUI)
    answer = item["chat"]["history"]["messages"]["a2"]
    del answer["output"]
    answer |= {"content": "18 degrees.", "timestamp": 1700001020123}  # milliseconds, as some versions write

    last = only(read(opened(indented([item])))).messages[-1]
    assert (last.content, last.created_at) == ("18 degrees.", datetime(2023, 11, 14, 22, 30, 20, 123000, UTC))


@pytest.mark.parametrize(
    "data",
    [
        b"".join(line_of(each) for each in LANGCHAIN),
        indented(LANGCHAIN),
        gzip.compress(b"\n\n".join(indented(each) for each in LANGCHAIN)),
    ],
    ids=["lines", "array", "pretty"],
)
def test_langchain_s_documents_become_conversations_of_their_sessions(opened: Any, data: bytes) -> None:
    source = opened(data)
    found = read(source)
    first = found[0]
    assert isinstance(first, ImportedConversation)

    assert source.format == "langchain"
    assert ids(found) == ["s-1", "s-2"]
    assert said(first) == [
        ("user", "Which film?"),
        ("assistant", ""),
        ("tool", "The Notebook"),
        ("assistant", "The Notebook 恋恋笔记本"),
    ]
    call = first.messages[1]
    assert (call.model, call.finish_reason, call.usage) == (
        *("gpt-4o-mini", "tool_calls", {"prompt": 11, "completion": 3, "total": 14}),
    )
    assert call.tool_calls is not None
    assert call.tool_calls[0]["function"] == {"name": "films", "arguments": '{"year": 2004}'}
    assert first.messages[2].tool_call_id == "call_9"
    assert first.created_at == first.messages[0].created_at == datetime.fromtimestamp(0x65F1AD8C, UTC)


def test_a_bad_document_of_langchain_keeps_its_session_out(opened: Any) -> None:
    documents = [*LANGCHAIN, {**langchain_document(6, "s-2", "human", ""), "History": "{oops"}, {"_id": 1}]
    documents.append(langchain_document(7, {"$numberLong": "42"}, "human", "a number is an id as well"))
    found = read(opened(b"".join(line_of(each) for each in documents)))

    assert ids(found) == ["BAD", "s-1", "BAD", "BAD", "42"]
    assert bad(found[0]) == "The document has no SessionId"
    assert bad(found[2]) == "Document 6 of the same session cannot be imported, so it waits with it"
    assert bad(found[3]).startswith("The History is not valid JSON")


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([CLAUDE, {"chat_messages": 3}], "The messages are not a list but 3"),
        ([CLAUDE, {"uuid": "x", "chat_messages": [{"sender": "robot"}]}], "The sender 'robot' of a message"),
        ([OPENWEBUI, {"id": "x", "chat": []}], "The chat is not an object"),
        ([OPENWEBUI, 5], "The item is not an object"),
    ],
)
def test_a_bad_item_is_told_and_kept_as_it_came(opened: Any, items: list[Any], reason: str) -> None:
    first, second = read(opened(indented(items)))
    assert isinstance(first, ImportedConversation)
    assert bad(second).startswith(reason)
    assert second.raw == items[1]  # type: ignore[union-attr]


def test_what_a_text_says_does_not_tell_the_format(opened: Any) -> None:
    """The names of members are looked at where they stand, not wherever they occur."""
    line = {"id": "x", "messages": [{"role": "user", "content": '"mapping": {', "metadata": {"mapping": "chat"}}]}
    assert opened(line_of(line)).format == "jsonl"
    assert opened(indented([{**CLAUDE, "mapping_": {"mapping": 1}, "name": '{"mapping": '}])).format == "claude"
