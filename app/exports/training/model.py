"""What makers get and give: transcripts, options; lines, and what was left out and why."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.kit.repository import Row

MinRating = Literal["down", "unrated", "up"]
MIN_RATINGS: tuple[MinRating, ...] = ("down", "unrated", "up")
"""From the worst to the best; an answer that nobody has rated is in the middle."""

DEFAULT_MAX_TOKENS = 65_536
MOST_TOKENS = 1_000_000

Line = dict[str, Any]


@dataclass(frozen=True)
class TrainingOptions:
    """`min_rating`: which answers are learned from. `include_system`: the system prompt and messages of that role.
    `assume_latest_preferred`: an answer that took the place of another is the better one unless ratings say otherwise.
    `max_tokens`: of a line, as estimated."""

    min_rating: MinRating = "unrated"
    include_system: bool = True
    assume_latest_preferred: bool = False
    max_tokens: int = DEFAULT_MAX_TOKENS


@dataclass(frozen=True)
class Transcript:
    """A conversation's row, its messages in the order of their numbers, superseded ones included, and the tools its
    turns offered, oldest first. `is_whole`: whether these are all its messages."""

    conversation: Row
    messages: Sequence[Row]
    tools: Sequence[Row] = ()
    is_whole: bool = True


Part = Literal["conversation", "rest", "answer"]
PARTS: tuple[Part, ...] = ("conversation", "rest", "answer")


@dataclass(frozen=True)
class Omission:
    """What is in no line: a whole conversation, the rest of one, or an answer that could have been part of a pair.

    `code` is one of `REASONS`; `seq` is the message at fault.
    """

    part: Part
    code: str
    seq: int | None = None


Maker = Callable[[Transcript, TrainingOptions], Iterator[Line | Omission]]
"""Gives the lines of one transcript and what is in none, as it goes: the lines of a long one need not fit in memory."""

REASONS: Mapping[str, str] = {
    "empty": "There are no messages.",
    "no_answer": "The last question has no answer.",
    "no_question": "The answer comes before any question.",
    "unfinished_answer": "The answer failed, was stopped, is still being written, or was cut off by a limit.",
    "consecutive_answers": "Two answers follow each other.",
    "consecutive_questions": "Two questions follow each other, and the format wants an answer between them.",
    "empty_content": "The message says nothing.",
    "unanswered_call": "A tool call has no answer.",
    "unasked_result": "The tool's message answers no call.",
    "broken_call": "The tool call has no proper name, an id that is taken, or arguments that are no JSON object.",
    "text_beside_call": "The message says something and calls tools, which the format cannot hold together.",
    "late_system": "A system message comes later than the format allows.",
    "too_many_tools": "The turns offered more tools than a line may define.",
    "too_long": "The line would have more tokens than it may.",
    "rating": "The answer is rated lower than what is to be learned from.",
    "unknown_kind": "The message is of a kind that the format does not know.",
    "one_answer": "No question has two answers that could be compared.",
    "no_preference": "Nothing says which of the answers is the better one.",
    "unrated": "No answer is rated.",
    "identical_answers": "The answer is the same as the better one.",
    "replaced_question": "The question was replaced by another one.",
    "copied": "Both answers are copies of those in the conversation it was forked from.",
}
"""Why something is in no line, by code."""
