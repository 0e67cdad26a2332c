"""Messages in the shapes that formats have for them."""

from collections.abc import Sequence
from typing import Any

import orjson

from app.kit.repository import Row

ChatMessages = list[dict[str, Any]]


def as_chat(row: Row) -> dict[str, Any]:
    """The message as OpenAI's chat completions have it."""
    message: dict[str, Any] = {"role": row["role"]}
    if row["content"] or not row.get("tool_calls"):
        message["content"] = row["content"]
    if row.get("tool_calls"):
        message["tool_calls"] = [_call(each) for each in row["tool_calls"]]
    if row["role"] == "tool":
        message["tool_call_id"] = row["tool_call_id"]
    return message


def _call(call: Row) -> dict[str, Any]:
    function = call["function"]
    named = {"name": function["name"], "arguments": function["arguments"]}
    return {"id": call["id"], "type": "function", "function": named}


def chat_messages(system: str | None, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The system prompt and the messages as OpenAI's chat completions have them."""
    head = [] if system is None else [{"role": "system", "content": system}]
    return [*head, *map(as_chat, rows)]


def as_trl(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Arguments as objects, and tools' messages with the function's name, as chat templates want them."""
    names: dict[str, str] = {}
    told: list[dict[str, Any]] = []
    for message in messages:
        calls = message.get("tool_calls") or ()
        names |= {call["id"]: call["function"]["name"] for call in calls}
        if calls:
            functions = [
                {**call["function"], "arguments": orjson.loads(call["function"]["arguments"])} for call in calls
            ]
            told.append({**message, "tool_calls": [{"type": "function", "function": each} for each in functions]})
        elif message["role"] == "tool":
            told.append({"role": "tool", "name": names[message["tool_call_id"]], "content": message["content"]})
        else:
            told.append(message)
    return told
