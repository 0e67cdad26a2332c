"""Preference pairs: a question with what came before it, the better of its answers, and a worse one.

Pairs come from questions that were answered again. Ratings decide: up is better than none, none is better than down.
Between answers of the same rating the one that was kept is the better one only if that is assumed. The best answer
makes a pair with each worse one, so a question with five answers gives four pairs at most.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from app.exports.training.answers import History, Question, questions
from app.exports.training.exchange import rank_of
from app.exports.training.messages import ChatMessages, as_chat, as_trl
from app.exports.training.model import Line, Omission, TrainingOptions, Transcript
from app.kit.repository import Row

Render = Callable[[ChatMessages, Row, Row, list[dict[str, Any]]], Line]
"""(prompt, better answer, worse answer, tools) -> the line."""


def make_openai_pairs(transcript: Transcript, options: TrainingOptions) -> Iterator[Line | Omission]:
    """{"input": {"messages": [...], "tools": [...]}, "preferred_output": [...], "non_preferred_output": [...]}."""
    return _make(transcript, options, _openai)


def make_trl_pairs(transcript: Transcript, options: TrainingOptions) -> Iterator[Line | Omission]:
    """{"prompt": [...], "chosen": [...], "rejected": [...], "tools": [...]}."""
    return _make(transcript, options, _trl)


def _make(transcript: Transcript, options: TrainingOptions, render: Render) -> Iterator[Line | Omission]:
    history = History(transcript, options)
    is_any = False
    for question in questions(transcript.messages):
        if len(question.answers) > 1:
            is_any = True
            yield from _pairs(history, question, options, _last_copy(transcript), render)
    if not is_any:
        yield Omission("conversation", "one_answer" if transcript.messages else "empty")


def _pairs(
    history: History, question: Question, options: TrainingOptions, last_copy: int, render: Render
) -> Iterator[Line | Omission]:
    """`last_copy`: up to which number the messages are copies."""
    asked = question.row
    if fault := history.fault_of_question(asked):
        yield Omission("answer", fault, asked["seq"])
        return
    answers = []
    for row in question.answers:
        if fault := history.fault_of_answer(asked, row):
            yield Omission("answer", fault, row["seq"])
        else:
            answers.append(row)
    if len(answers) < 2:
        return
    best = max(answers, key=lambda row: (rank_of(row.get("feedback")), row["status"] != "superseded", row["seq"]))
    for row in answers:
        if row is best:
            continue
        if why_not := _why_not_worse(row, best, options, last_copy):
            yield Omission("answer", why_not, row["seq"])
        else:
            yield render(history.prompt(asked), best, row, history.tools(best))


def _why_not_worse(row: Row, best: Row, options: TrainingOptions, last_copy: int) -> str | None:
    """Why an answer makes no pair with the best one."""
    if max(best["seq"], row["seq"]) <= last_copy:
        return "copied"
    if _said(row) == _said(best):
        return "identical_answers"
    is_rated_lower = rank_of(row.get("feedback")) < rank_of(best.get("feedback"))
    is_assumed = options.assume_latest_preferred and best["status"] != "superseded"
    return None if is_rated_lower or is_assumed else "no_preference"


def _said(row: Row) -> tuple[str, Sequence[Row]]:
    return row["content"], [call["function"] for call in row.get("tool_calls") or ()]


def _last_copy(transcript: Transcript) -> int:
    parent = transcript.conversation.get("parent")
    return int(parent["seq"]) if parent else 0


def _openai(prompt: ChatMessages, chosen: Row, rejected: Row, tools: list[dict[str, Any]]) -> Line:
    return {
        "input": {"messages": prompt, **({"tools": tools} if tools else {})},
        "preferred_output": [as_chat(chosen)],
        "non_preferred_output": [as_chat(rejected)],
    }


def _trl(prompt: ChatMessages, chosen: Row, rejected: Row, tools: list[dict[str, Any]]) -> Line:
    line = {"prompt": as_trl(prompt), "chosen": as_trl([as_chat(chosen)]), "rejected": as_trl([as_chat(rejected)])}
    return {**line, "tools": tools} if tools else line
