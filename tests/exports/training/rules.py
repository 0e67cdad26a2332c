"""The rules of the formats, written from their documentation and from nothing of the product: what trainers refuse.

Each function raises AssertionError for a line that is not one. Sources are in docs/decisions/training-exports.md.
"""

import itertools
import json
import re
from typing import Any

ROLES = {"system", "user", "assistant", "tool"}
KEYS = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls", "weight"},
    "tool": {"role", "content", "tool_call_id"},
}


def check_openai_chat(line: dict[str, Any]) -> None:
    assert set(line) <= {"messages", "tools", "parallel_tool_calls"}
    messages = line["messages"]
    _check_messages(messages)
    assert messages[-1]["role"] == "assistant"
    assert "tool_calls" not in messages[-1]
    assert all(each.get("weight", 1) in {0, 1} for each in messages)
    assert any(each["role"] == "assistant" and each.get("weight", 1) == 1 for each in messages)
    _check_tools(line.get("tools", []))


def check_openai_preference(line: dict[str, Any]) -> None:
    assert set(line) == {"input", "preferred_output", "non_preferred_output"}
    assert set(line["input"]) <= {"messages", "tools", "parallel_tool_calls"}
    _check_messages(line["input"]["messages"])
    assert line["input"]["messages"][-1]["role"] in {"user", "tool"}
    _check_tools(line["input"].get("tools", []))
    outputs = line["preferred_output"], line["non_preferred_output"]
    for output in outputs:
        assert len(output) == 1
        assert output[0]["role"] == "assistant"
        assert "weight" not in output[0]
        _check_message(output[0])
    assert outputs[0] != outputs[1]


def check_trl_preference(line: dict[str, Any]) -> None:
    assert set(line) <= {"prompt", "chosen", "rejected", "tools"}
    assert line["chosen"] != line["rejected"]
    _check_trl(line["prompt"], line["chosen"], line["rejected"])
    _check_tools(line.get("tools", []))


def check_trl_feedback(line: dict[str, Any]) -> None:
    assert set(line) <= {"prompt", "completion", "label", "tools"}
    assert isinstance(line["label"], bool)
    _check_trl(line["prompt"], line["completion"])
    _check_tools(line.get("tools", []))


def _check_trl(prompt: list[dict[str, Any]], *outputs: list[dict[str, Any]]) -> None:
    assert prompt[-1]["role"] in {"user", "tool"}
    assert all([each["role"] for each in output] == ["assistant"] for output in outputs)
    for message in (*prompt, *(each for output in outputs for each in output)):
        assert message["role"] in ROLES
        assert message.get("content", "").strip() or message.get("tool_calls")
        assert message["role"] != "tool" or message["name"]
        assert all(isinstance(call["function"]["arguments"], dict) for call in message.get("tool_calls", []))


def check_sharegpt(line: dict[str, Any]) -> None:
    assert set(line) <= {"conversations", "tools"}
    turns = line["conversations"]
    assert all(set(each) == {"from", "value"} and isinstance(each["value"], str) for each in turns)
    if turns[0]["from"] == "system":
        assert turns[0]["value"].strip()
        turns = turns[1:]
    assert len(turns) % 2 == 0
    assert turns
    for asked, answered in zip(turns[::2], turns[1::2], strict=True):
        assert asked["from"] in {"human", "observation"}
        assert answered["from"] in {"gpt", "function_call"}
        assert asked["value"].strip()
        assert answered["value"].strip()
    for before, after in itertools.pairwise(turns):
        assert (before["from"] == "function_call") == (after["from"] == "observation")
    assert turns[0]["from"] == "human"
    assert turns[-1]["from"] == "gpt"
    for each in turns:
        if each["from"] == "function_call":
            calls = json.loads(each["value"])
            for call in calls if isinstance(calls, list) else [calls]:
                assert set(call) == {"name", "arguments"}
                assert isinstance(call["arguments"], dict)
    if "tools" in line:
        assert all(isinstance(each["name"], str) for each in json.loads(line["tools"]))


CHECKS = {
    "openai-chat": check_openai_chat,
    "openai-preference": check_openai_preference,
    "trl-preference": check_trl_preference,
    "trl-feedback": check_trl_feedback,
    "sharegpt": check_sharegpt,
}


def _check_messages(messages: list[dict[str, Any]]) -> None:
    assert messages
    said = [each for each in messages if each["role"] != "system"]
    assert said[0]["role"] == "user"
    waiting: set[str] = set()
    previous = ""
    for message in messages:
        _check_message(message)
        if message["role"] == "tool":
            assert message["tool_call_id"] in waiting
            waiting.remove(message["tool_call_id"])
        else:
            assert not waiting
        assert not message["role"] == previous == "assistant"
        waiting |= {call["id"] for call in message.get("tool_calls", [])}
        previous = message["role"]
    assert not waiting


def _check_message(message: dict[str, Any]) -> None:
    assert message["role"] in ROLES
    assert set(message) <= KEYS[message["role"]]
    calls = message.get("tool_calls", [])
    assert isinstance(message.get("content", ""), str)
    assert message.get("content", "").strip() or calls
    assert len({call["id"] for call in calls}) == len(calls)
    for call in calls:
        assert set(call) == {"id", "type", "function"}
        assert call["type"] == "function"
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", call["function"]["name"])
        assert isinstance(json.loads(call["function"]["arguments"]), dict)


def _check_tools(tools: list[dict[str, Any]]) -> None:
    assert len(tools) <= 128
    assert all(each["type"] == "function" and each["function"]["name"] for each in tools)
    assert len({each["function"]["name"] for each in tools}) == len(tools)
