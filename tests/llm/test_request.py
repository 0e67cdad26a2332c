"""What upstreams are sent: parameters under their names, a history that they accept."""

from typing import Any

import orjson
import pytest

from app.llm.provider import ChatMessage, CompletionRequest, ToolCall
from app.llm.request import NO_RESULT, request_body, wire_messages
from tests.llm.conftest import MakeModels, collect
from tests.upstream import Upstream

A, B = ToolCall("a", "weather", '{"city": "Bern"}'), ToolCall("b", "time", "")
WIRE_A = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}
WIRE_B = {"id": "b", "type": "function", "function": {"name": "time", "arguments": "{}"}}

USER = ChatMessage("user", "Hi")
BOTH = ChatMessage("assistant", "", (A, B))


def result(id: str | None, content: str = "ok") -> ChatMessage:
    return ChatMessage("tool", content, tool_call_id=id)


def brief(message: dict[str, Any]) -> str:
    """`"tool a ok"`, `"user Hi"`, `"assistant ab"`."""
    calls = "".join(call["id"] for call in message.get("tool_calls", ()))
    parts = (message["role"], message.get("tool_call_id"), calls, message["content"])
    return " ".join(part for part in parts if part)


@pytest.mark.parametrize(
    ("messages", "sent"),
    [
        ([USER, BOTH, result("a"), result("b")], ["user Hi", "assistant ab", "tool a ok", "tool b ok"]),
        ([USER, BOTH, result("b"), result("a")], ["user Hi", "assistant ab", "tool b ok", "tool a ok"]),
        ([USER, BOTH, result("a")], ["user Hi", "assistant ab", "tool a ok", f"tool b {NO_RESULT}"]),
        ([BOTH, USER], ["assistant ab", f"tool a {NO_RESULT}", f"tool b {NO_RESULT}", "user Hi"]),
        ([BOTH], ["assistant ab", f"tool a {NO_RESULT}", f"tool b {NO_RESULT}"]),
        ([USER, result("a")], ["user Hi", "user ok"]),
        ([USER, result(None)], ["user Hi", "user ok"]),
        ([BOTH, result("x"), result("a"), result("b")], ["assistant ab", "tool a ok", "tool b ok", "user ok"]),
        ([BOTH, result("a"), result("a"), result("b")], ["assistant ab", "tool a ok", "tool b ok", "user ok"]),
        (
            [BOTH, USER, result("a")],
            ["assistant ab", f"tool a {NO_RESULT}", f"tool b {NO_RESULT}", "user Hi", "user ok"],
        ),
        (
            [ChatMessage("assistant", "", (A,)), ChatMessage("assistant", "", (B,)), result("b")],
            ["assistant a", f"tool a {NO_RESULT}", "assistant b", "tool b ok"],
        ),
        ([], []),
    ],
)
def test_every_call_has_its_result_and_every_result_its_call(messages: list[ChatMessage], sent: list[str]) -> None:
    assert [brief(each) for each in wire_messages(messages)] == sent


def test_calls_look_as_openai_wants_them() -> None:
    assert next(wire_messages([BOTH])) == {"role": "assistant", "content": None, "tool_calls": [WIRE_A, WIRE_B]}
    [first, *_] = wire_messages([ChatMessage("assistant", "Let me look.", (A,))])
    assert first == {"role": "assistant", "content": "Let me look.", "tool_calls": [WIRE_A]}


EVERYTHING = CompletionRequest(
    "m",
    [USER],
    temperature=0.0,
    top_p=0.5,
    max_tokens=7,
    presence_penalty=0.1,
    frequency_penalty=0.2,
    seed=0,
    stop=["\n"],
    reasoning_effort="low",
    tools=[{"type": "function", "function": {"name": "weather"}}],
    tool_choice="auto",
)
SENT: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "Hi"}],
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 0.0,
    "top_p": 0.5,
    "max_tokens": 7,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.2,
    "seed": 0,
    "stop": ["\n"],
    "reasoning_effort": "low",
    "tools": [{"type": "function", "function": {"name": "weather"}}],
    "tool_choice": "auto",
}


def test_every_parameter_is_passed_on() -> None:
    assert orjson.loads(request_body(EVERYTHING)) == SENT


@pytest.mark.parametrize(
    ("settings", "gone", "come"),
    [
        ({}, {}, {}),
        ({"kind": "openai"}, {"max_tokens"}, {"max_completion_tokens": 7}),
        ({"kind": "azure"}, {"max_tokens"}, {"max_completion_tokens": 7}),
        ({"kind": "mistral"}, {"seed", "stream_options"}, {"random_seed": 0}),
        ({"kind": "google"}, {"seed", "presence_penalty", "frequency_penalty"}, {}),
        ({"kind": "groq"}, {}, {}),
        ({"kind": "openai", "parameters": {"max_tokens": "max_tokens", "stop": None}}, {"stop"}, {}),
    ],
)
async def test_parameters_have_the_upstreams_names(
    upstream: Upstream, make_models: MakeModels, *, settings: dict[str, Any], gone: set[str], come: dict[str, Any]
) -> None:
    request = CompletionRequest(**{**vars(EVERYTHING), "model": "fake:m"})
    await collect(make_models(**settings), request)
    [exchange] = upstream.requests
    assert exchange.body == {name: value for name, value in SENT.items() if name not in gone} | come


async def test_mistral_gets_ids_of_nine_letters_or_digits(upstream: Upstream, make_models: MakeModels) -> None:
    calls = (ToolCall("call_1", "f", "{}"), ToolCall("abcDEF123", "g", "{}"), ToolCall("call_3", "h", "{}"))
    history = [USER, ChatMessage("assistant", "", calls), result("call_1"), result("abcDEF123"), USER]
    await collect(make_models(kind="mistral"), CompletionRequest("fake:m", history))
    _, assistant, *results, _ = upstream.requests[0].body["messages"]
    ids = [call["id"] for call in assistant["tool_calls"]]
    assert all(len(id) == 9 and id.isascii() and id.isalnum() for id in ids)
    assert (len(set(ids)), ids[1]) == (3, "abcDEF123")
    assert [each["tool_call_id"] for each in results] == ids
