"""Preference pairs: a question with what came before it, the better of its answers, and a worse one.

Pairs come from questions that were answered again. Ratings decide: up is better than none, none is better than down.
Between answers of the same rating the one that was kept is the better one only if that is assumed. The best answer
makes a pair with each worse one, so a question with five answers gives four pairs at most.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from app.exports.training.exchange import (
    Exchange,
    as_chat,
    chat_messages,
    is_broken,
    is_unfinished,
    message_tokens,
    rank_of,
    read_exchange,
    says_nothing,
)
from app.exports.training.model import Line, Omission, TrainingOptions, Transcript
from app.exports.training.tools import definitions
from app.kit.repository import Row

Render = Callable[[list[dict[str, Any]], Row, Row, list[dict[str, Any]]], Line]
"""(prompt, better answer, worse answer, tools) -> the line."""


@dataclass(frozen=True)
class Question:
    """A message that was answered, and all of its answers in the order they came."""

    row: Row
    answers: Sequence[Row]


def make_openai_pairs(transcript: Transcript, options: TrainingOptions) -> Iterator[Line | Omission]:
    """{"input": {"messages": [...], "tools": [...]}, "preferred_output": [...], "non_preferred_output": [...]}."""
    return _make(transcript, options, _openai)


def make_trl_pairs(transcript: Transcript, options: TrainingOptions) -> Iterator[Line | Omission]:
    """{"prompt": [...], "chosen": [...], "rejected": [...], "tools": [...]}."""
    return _make(transcript, options, _trl)


def _make(transcript: Transcript, options: TrainingOptions, render: Render) -> Iterator[Line | Omission]:
    # The answers before the question are its context, whatever they are rated.
    exchange = read_exchange(transcript, replace(options, min_rating="down"))
    places = {step.row["seq"]: index for index, step in enumerate(exchange.steps)}
    is_any = False
    for question in _questions(transcript.messages):
        is_any = True
        place = places.get(question.row["seq"])
        if place is None or exchange.steps[place].is_open or question.row["role"] == "system":
            yield Omission("answer", _why_no_prompt(exchange, question), question.row["seq"])
        else:
            yield from _pairs(transcript, exchange, options, question, place, render)
    if not is_any:
        yield Omission("conversation", "one_answer" if transcript.messages else "empty")


def _questions(messages: Sequence[Row]) -> Iterator[Question]:
    """The messages that were answered more than once."""
    question: Row | None = None
    answers: list[Row] = []
    for row in [*messages, None]:
        if row is not None and row["role"] == "assistant":
            # One that was written by hand behind another continues it.
            is_answer = not answers or row.get("turn_id") is not None or row.get("provider") is not None
            answers += [row] if is_answer else []
            continue
        if question is not None and len(answers) > 1:
            yield Question(question, answers)
        question, answers = row, []


def _pairs(
    transcript: Transcript, exchange: Exchange, options: TrainingOptions, question: Question, place: int, render: Render
) -> Iterator[Line | Omission]:
    """`place`: of the question in the exchange."""
    room = options.max_tokens - exchange.steps[place].tokens
    faults = {row["seq"]: code for row in question.answers if (code := _fault(row, room))}
    for seq, code in faults.items():
        yield Omission("answer", code, seq)
    answers = [row for row in question.answers if row["seq"] not in faults]
    if len(answers) < 2:
        return
    best, compared = _compare(answers, options, _last_copy(transcript))
    prompt = chat_messages(exchange.system, exchange.steps[: place + 1])
    tools = definitions(transcript.tools, up_to=best["seq"])
    for row, why_not in compared:
        yield Omission("answer", why_not, row["seq"]) if why_not else render(prompt, best, row, tools)


def _why_no_prompt(exchange: Exchange, question: Question) -> str:
    if question.row["status"] == "superseded":
        return "replaced_question"
    if question.row["role"] == "system":
        return "no_question"
    return exchange.fault.code if exchange.fault is not None else "unanswered_call"


def _fault(row: Row, room: int) -> str | None:
    """What makes an answer no part of a pair."""
    if is_unfinished(row):
        return "unfinished_answer"
    if says_nothing(row):
        return "empty_content"
    if is_broken(row.get("tool_calls") or ()):
        return "broken_call"
    return "too_long" if message_tokens(row) > room else None


def _compare(
    answers: Sequence[Row], options: TrainingOptions, last_copy: int
) -> tuple[Row, list[tuple[Row, str | None]]]:
    """The best answer, and each other one with the reason why it is not known to be worse."""
    best = max(answers, key=lambda row: (rank_of(row.get("feedback")), row["status"] != "superseded", row["seq"]))

    def reason(row: Row) -> str | None:
        is_rated_lower = rank_of(row.get("feedback")) < rank_of(best.get("feedback"))
        is_assumed = options.assume_latest_preferred and best["status"] != "superseded"
        if max(best["seq"], row["seq"]) <= last_copy:
            return "copied"
        if _said(row) == _said(best):
            return "identical_answers"
        return None if is_rated_lower or is_assumed else "no_preference"

    return best, [(row, reason(row)) for row in answers if row is not best]


def _said(row: Row) -> tuple[str, list[Row]]:
    return row["content"], [call["function"] for call in row.get("tool_calls") or ()]


def _last_copy(transcript: Transcript) -> int:
    parent = transcript.conversation.get("parent")
    return int(parent["seq"]) if parent else 0


def _openai(prompt: list[dict[str, Any]], chosen: Row, rejected: Row, tools: list[dict[str, Any]]) -> Line:
    return {
        "input": {"messages": prompt, **({"tools": tools} if tools else {})},
        "preferred_output": [as_chat(chosen)],
        "non_preferred_output": [as_chat(rejected)],
    }


def _trl(prompt: list[dict[str, Any]], chosen: Row, rejected: Row, tools: list[dict[str, Any]]) -> Line:
    line = {"prompt": _as_trl(prompt), "chosen": _as_trl([as_chat(chosen)]), "rejected": _as_trl([as_chat(rejected)])}
    return {**line, "tools": tools} if tools else line


def _as_trl(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
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
