"""ShareGPT's format, as LLaMA-Factory and axolotl read it: a conversation a line, questions and answers in turns.

`human` and `observation` are on one side, `gpt` and `function_call` on the other, and the sides alternate. So a message
that calls tools holds nothing but its calls, and the answers of several calls are one observation.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from app.exports.training.exchange import RULES, Rule, Step, beginning, is_blank, read_exchange
from app.exports.training.model import Line, Omission, TrainingOptions, Transcript
from app.exports.training.tools import definitions
from app.kit.repository import Row

_RULES: tuple[Rule, ...] = (
    ("late_system", lambda state, row: row["role"] == "system" and state.previous is not None),
    ("consecutive_questions", lambda state, row: row["role"] == "user" and state.previous in {"user", "tool"}),
    ("text_beside_call", lambda _, row: bool(row.get("tool_calls")) and not is_blank(row["content"])),
    ("rating", lambda state, row: row["role"] == "assistant" and not state.is_learned),
)


def make_sharegpt(transcript: Transcript, options: TrainingOptions) -> Iterator[Line | Omission]:
    """{"conversations": [{"from": ..., "value": ...}], "tools": "JSON"}."""
    exchange = read_exchange(transcript, options, (*RULES, *_RULES))

    def render(steps: Sequence[Step]) -> Line:
        head = [] if exchange.system is None else [_said("system", exchange.system)]
        tools = [each["function"] for each in definitions(transcript.tools, up_to=steps[-1].row["seq"])]
        line: Line = {"conversations": [*head, *_sides(steps)]}
        return {**line, "tools": _json(tools)} if tools else line

    return beginning(exchange, render)


_NAMES = {"system": "system", "user": "human", "assistant": "gpt"}


def _sides(steps: Sequence[Step]) -> Iterator[dict[str, str]]:
    """The messages, with the tools' answers to the calls of one message together."""
    calls: Sequence[Row] = ()
    results: dict[str, str] = {}
    for row in (step.row for step in steps):
        if row["role"] == "tool":
            results[row["tool_call_id"]] = row["content"]
            if len(results) == len(calls):
                yield _said("observation", _one_or_all([results.pop(call["id"]) for call in calls], str))
        elif row.get("tool_calls"):
            calls = row["tool_calls"]
            yield _said("function_call", _one_or_all([_function(call) for call in calls], _json))
        else:
            yield _said(_NAMES[row["role"]], row["content"])


def _said(name: str, value: str) -> dict[str, str]:
    return {"from": name, "value": value}


def _function(call: Row) -> dict[str, Any]:
    function = call["function"]
    return {"name": function["name"], "arguments": orjson.loads(function["arguments"])}


def _one_or_all(values: Sequence[Any], text_of: Callable[[Any], str]) -> str:
    """A single value as it is; several are a JSON list of them in the order of their calls."""
    return text_of(values[0]) if len(values) == 1 else _json(values)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
