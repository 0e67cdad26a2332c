"""The JSON of a call, as OpenAI wants it and as upstreams differ."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import groupby
from typing import Any, cast, get_args

import orjson

from app.llm.presets import Names
from app.llm.provider import ChatMessage, CompletionRequest, ToolCall
from app.upstream_settings import Parameter

NO_RESULT = "(no result)"

CallID = Callable[[str], str]

_NOTHING: Names = {}
_SHORT = re.compile("[a-zA-Z0-9]{9}")


def request_body(request: CompletionRequest, names: Names = _NOTHING, *, has_short_call_ids: bool = False) -> bytes:
    """A streamed call; parameters that are None are left out. `names`: what the upstream calls them, None: nothing."""
    given = {name: getattr(request, name, None) for name in get_args(Parameter)}
    given["stream_options"] = {"include_usage": True}
    renamed = {names.get(cast("Parameter", name), name): value for name, value in given.items() if value is not None}
    renamed.pop(None, None)
    messages = list(wire_messages(request.messages, _short if has_short_call_ids else str))
    return orjson.dumps({"model": request.model, "messages": messages, "stream": True, **renamed})


def wire_messages(messages: Sequence[ChatMessage], call_id: CallID = str) -> Iterator[dict[str, Any]]:
    """The history as upstreams accept it.

    They refuse a tool's message that answers no call of the assistant's message before it, and a call without an
    answer: the one is sent as the user's, the other gets `NO_RESULT`.
    """
    calls: Sequence[ToolCall] = ()
    for are_results, run in groupby(messages, key=lambda each: each.role == "tool"):
        if are_results:
            yield from _results(run, calls, call_id)
            calls = ()
            continue
        for message in run:
            yield from _results((), calls, call_id)
            calls = message.tool_calls if message.role == "assistant" else ()
            yield _message(message, calls, call_id)
    yield from _results((), calls, call_id)


def _message(message: ChatMessage, calls: Sequence[ToolCall], call_id: CallID) -> dict[str, Any]:
    if not calls:
        return {"role": message.role, "content": message.content}
    wire_calls = [_call(each, call_id) for each in calls]
    return {"role": message.role, "content": message.content or None, "tool_calls": wire_calls}


def _call(call: ToolCall, call_id: CallID) -> dict[str, Any]:
    # Without arguments some models write nothing at all, which other servers do not take for JSON.
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    return {"id": call_id(call.id), "type": "function", "function": function}


def _results(messages: Iterable[ChatMessage], calls: Sequence[ToolCall], call_id: CallID) -> Iterator[dict[str, Any]]:
    """First what answers a call, then what is missing, then what answers none."""
    unanswered = dict.fromkeys(each.id for each in calls)
    others: list[ChatMessage] = []
    for message in messages:
        if message.tool_call_id is not None and message.tool_call_id in unanswered:
            del unanswered[message.tool_call_id]
            yield {"role": "tool", "tool_call_id": call_id(message.tool_call_id), "content": message.content}
        else:
            others.append(message)
    for id in unanswered:
        yield {"role": "tool", "tool_call_id": call_id(id), "content": NO_RESULT}
    for message in others:
        yield {"role": "user", "content": message.content}


def _short(id: str) -> str:
    """Nine letters or digits, always the same for the same id."""
    return id if _SHORT.fullmatch(id) else sha256(id.encode()).hexdigest()[:9]
