"""The questions of a transcript with all of their answers, those that were taken back included."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.exports.training.exchange import (
    Exchange,
    is_broken,
    is_unfinished,
    message_tokens,
    read_exchange,
    says_nothing,
)
from app.exports.training.messages import ChatMessages, chat_messages
from app.exports.training.model import TrainingOptions, Transcript
from app.exports.training.tools import definitions
from app.kit.repository import Row


@dataclass(frozen=True)
class Question:
    """A message that was answered, and its answers in the order they came."""

    row: Row
    answers: Sequence[Row]


def questions(messages: Sequence[Row]) -> Iterator[Question]:
    """The messages that were answered. An answer that was written by hand behind another one continues that."""
    question: Row | None = None
    answers: list[Row] = []
    for row in messages:
        if row["role"] != "assistant":
            if question is not None and answers:
                yield Question(question, answers)
            question, answers = row, []
        elif not answers or row.get("turn_id") is not None or row.get("provider") is not None:
            answers.append(row)
    if question is not None and answers:
        yield Question(question, answers)


class History:
    """What came before each question."""

    def __init__(self, transcript: Transcript, options: TrainingOptions) -> None:
        self._offered = transcript.tools
        self._max_tokens = options.max_tokens
        # The answers before a question are its context, whatever they are rated.
        self._exchange: Exchange = read_exchange(transcript, replace(options, min_rating="down"))
        self._places = {step.row["seq"]: place for place, step in enumerate(self._exchange.steps)}

    def fault_of_question(self, question: Row) -> str | None:
        """Why it can be no prompt's end."""
        if question["status"] == "superseded":
            return "replaced_question"
        if question["role"] == "system":
            return "no_question"
        place = self._places.get(question["seq"])
        if place is None:
            return self._exchange.fault.code if self._exchange.fault else "unknown_kind"
        return "unanswered_call" if self._exchange.steps[place].is_open else None

    def fault_of_answer(self, question: Row, answer: Row) -> str | None:
        """Why it cannot be learned from, behind a question without fault."""
        if is_unfinished(answer):
            return "unfinished_answer"
        if says_nothing(answer):
            return "empty_content"
        if is_broken(answer.get("tool_calls") or ()):
            return "broken_call"
        before = self._exchange.steps[self._places[question["seq"]]].tokens
        return "too_long" if before + message_tokens(answer) > self._max_tokens else None

    def prompt(self, question: Row) -> ChatMessages:
        """Everything up to a question without fault."""
        steps = self._exchange.steps[: self._places[question["seq"]] + 1]
        return chat_messages(self._exchange.system, [step.row for step in steps])

    def tools(self, answer: Row) -> list[dict[str, Any]]:
        """The tools that had been offered when it came."""
        return definitions(self._offered, up_to=answer["seq"])
