"""Invented conversations in both formats, and what is asked of every reading."""

import json
from typing import Any

from app.imports.readers import Source
from app.imports.records import BadRecord, ImportedConversation, Pause, Record

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
    result: list[Record] = []
    seen = 0
    for record in source:
        assert seen <= source.bytes_read <= source.size_bytes
        seen = source.bytes_read
        if not isinstance(record, Pause):
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


CLAUDE = {
    "uuid": "5e0a1a0c-6a0e-4a3a-9a56-0f5c2a3d7b11",
    "name": "Planning a trip 旅行",
    "summary": "",
    "created_at": "2026-03-29T07:06:34.084721Z",
    "updated_at": "2026-03-29T12:59:41.658730Z",
    "account": {"uuid": "c1a9a5f8-a09c-42e7-8de7-ad0174488170"},
    "chat_messages": [
        {
            "uuid": "m-1",
            "text": "Where to go?",
            "content": [{"type": "text", "text": "Where to go?", "citations": []}],
            "sender": "human",
            "created_at": "2026-03-29T07:06:35.552627Z",
            "updated_at": "2026-03-29T07:06:35.552627Z",
            "attachments": [
                {"file_name": "list.txt", "file_size": 12, "file_type": "txt", "extracted_content": "Oslo\nBergen"}
            ],
            "files": [{"file_name": "map.png", "file_uuid": "f-1"}],
            "parent_message_uuid": "00000000-0000-4000-8000-000000000000",
        },
        {
            "uuid": "m-2",
            "text": "edited away",
            "content": [{"type": "text", "text": "edited away"}],
            "sender": "assistant",
            "created_at": "2026-03-29T07:06:40Z",
            "attachments": [],
            "files": [],
            "parent_message_uuid": "m-1",
        },
        {
            "uuid": "m-3",
            "text": "To Bergen.",
            "content": [
                {"type": "thinking", "thinking": "It rains there.", "summaries": []},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_01", "name": "weather", "input": {"city": "Bergen"}},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_01",
                    "name": "weather",
                    "content": [{"type": "text", "text": "rain, 8 °C"}],
                    "is_error": False,
                },
                {"type": "text", "text": "To Bergen, with an umbrella."},
                {"type": "token_budget"},
            ],
            "sender": "assistant",
            "created_at": "2026-03-29T07:07:12.364007Z",
            "attachments": [],
            "files": [],
            "parent_message_uuid": "m-1",
        },
    ],
}


def librechat_message(id: str, parent: str | None, **members: Any) -> dict[str, Any]:
    return {
        "messageId": id,
        "conversationId": "27b593be-9500-479c-94cb-050cab8f5033",
        "createdAt": f"2024-05-28T18:08:5{id[-1]}.014Z",
        "endpoint": "azureOpenAI",
        "error": False,
        "isCreatedByUser": False,
        "model": "gpt-4o",
        "parentMessageId": parent or "00000000-0000-0000-0000-000000000000",
        "sender": "GPT-4",
        "unfinished": False,
        **members,
    }


_QUESTION = librechat_message("q-1", None, isCreatedByUser=True, model=None, sender="User", text="A story?")
_STALE = librechat_message("a-2", "q-1", text="Once", unfinished=True)
_SHOWN = librechat_message(
    "a-3",
    "q-1",
    text="",
    content=[
        {"type": "think", "think": "A dragon, perhaps."},
        {
            "type": "tool_call",
            "tool_call": {"id": "call_1", "name": "names", "args": '{"of":"dragons"}', "output": "Smaug"},
        },
        {"type": "text", "text": "Once upon a time, Smaug…"},
    ],
    finish_reason="stop",
    feedback={"rating": "thumbsUp", "tag": "accurate_reliable", "text": "lovely"},
)
LIBRECHAT = {
    "conversationId": "27b593be-9500-479c-94cb-050cab8f5033",
    "endpoint": "azureOpenAI",
    "title": "Original",
    "exportAt": "08:12:16 GMT-0400 (Eastern Daylight Time)",
    "branches": True,
    "recursive": False,
    "options": {"presetId": None, "model": "gpt-4o", "promptPrefix": "Tell stories.", "temperature": 1},
    "messages": [_QUESTION, _STALE, _SHOWN],
}
LIBRECHAT_RECURSIVE = {
    **{key: value for key, value in LIBRECHAT.items() if key != "messages"},
    "recursive": True,
    "messagesTree": [
        {**_QUESTION, "children": [{**_STALE, "children": []}, {**_SHOWN, "children": []}]},
    ],
}

OPENWEBUI = {
    "id": "tool-chat",
    "user_id": "u1",
    "title": "Weather",
    "chat": {
        "title": "Weather",
        "models": ["gpt-4o"],
        "params": {"system": "Be brief."},
        "history": {
            "currentId": "a2",
            "messages": {
                "u1": {
                    "id": "u1",
                    "parentId": None,
                    "childrenIds": ["a1", "a2"],
                    "role": "user",
                    "content": "Weather in Paris?",
                    "timestamp": 1700001000,
                },
                "a1": {
                    "id": "a1",
                    "parentId": "u1",
                    "childrenIds": [],
                    "role": "assistant",
                    "content": "regenerated away",
                    "timestamp": 1700001090,
                },
                "a2": {
                    "id": "a2",
                    "parentId": "u1",
                    "childrenIds": [],
                    "role": "assistant",
                    "content": '<details type="tool_calls"></details>18 degrees.',
                    "model": "gpt-4o",
                    "timestamp": 1700001020,
                    "done": True,
                    "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
                    "annotation": {"rating": -1, "comment": "too short"},
                    "output": [
                        {"type": "reasoning", "content": [{"type": "output_text", "text": "I should look."}]},
                        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Paris"}'},
                        {
                            "type": "function_call_output",
                            "call_id": "c1",
                            "output": [{"type": "input_text", "text": "18C, rain"}],
                        },
                        {"type": "message", "content": [{"type": "output_text", "text": "18 degrees."}]},
                    ],
                },
            },
        },
    },
    "created_at": 1700001000,
    "updated_at": 1700001020,
    "archived": True,
    "pinned": False,
    "meta": {"tags": ["weather"]},
    "folder_id": None,
}


def langchain_document(number: int, session: Any, kind: str, content: Any, **data: Any) -> dict[str, Any]:
    history = {"type": kind, "data": {"content": content, "additional_kwargs": {}, "type": kind, **data}}
    return {
        "_id": {"$oid": f"65f1ad8c90523874d2d409{number:02x}"},
        "SessionId": session,
        "History": json.dumps(history),
    }


LANGCHAIN = [
    langchain_document(1, "s-1", "human", "Which film?"),
    langchain_document(2, "s-2", "human", "Hello"),
    langchain_document(
        3,
        "s-1",
        "ai",
        "",
        tool_calls=[{"name": "films", "args": {"year": 2004}, "id": "call_9", "type": "tool_call"}],
        usage_metadata={"input_tokens": 11, "output_tokens": 3, "total_tokens": 14},
        response_metadata={"model_name": "gpt-4o-mini", "finish_reason": "tool_calls"},
    ),
    langchain_document(4, "s-1", "tool", "The Notebook", tool_call_id="call_9"),
    langchain_document(5, "s-1", "ai", [{"type": "text", "text": "The Notebook 恋恋笔记本"}]),
]
