"""What a model did for one answer, as the messages of a transcript.

Other applications keep an answer in one piece: thoughts, words, calls of tools and what these answered, in order. Here
a call belongs to the assistant's message that makes it, and its answer is a tool's message behind it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.imports.fields import RefusedError
from app.imports.records import ImportedMessage, build_full_message


@dataclass(frozen=True)
class Said:
    text: str


@dataclass(frozen=True)
class Thought:
    text: str


@dataclass(frozen=True)
class Called:
    id: str
    name: str
    arguments: object
    """JSON text as the model wrote it, or what it decodes to."""


@dataclass(frozen=True)
class Answered:
    id: str
    text: str


Step = Said | Thought | Called | Answered


@dataclass
class _Piece:
    """One assistant's message in the making."""

    said: list[str] = field(default_factory=list)
    thought: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)

    def values(self) -> dict[str, object]:
        return {
            "role": "assistant",
            "content": "\n\n".join(text for text in self.said if text.strip()),
            "reasoning": "\n\n".join(text for text in self.thought if text.strip()),
            "tool_calls": self.calls or None,
        }


def build_answer(steps: Iterable[Step], shared: Mapping[str, object]) -> list[ImportedMessage]:
    """The messages of an answer. `shared`: values that all of them have; what counts once (usage, feedback, error,
    status, metadata) goes to the last of the assistant's."""
    found = list(_values(steps))
    once = {name: shared[name] for name in _ONCE if name in shared}
    everywhere = {name: value for name, value in shared.items() if name not in _ONCE}
    last = max((index for index, each in enumerate(found) if each["role"] == "assistant"), default=None)
    return [
        build_full_message({**everywhere, **(once if index == last else {}), **each})
        for index, each in enumerate(found)
    ]


_ONCE = ("usage", "feedback", "error", "status", "metadata", "finish_reason", "id")


def _values(steps: Iterable[Step]) -> Iterator[dict[str, object]]:
    piece = _Piece()
    for step in steps:
        match step:
            case Said(text):
                piece.said.append(text)
            case Thought(text):
                piece.thought.append(text)
            case Called(id, name, arguments):
                function = {"name": name, "arguments": _arguments(arguments)}
                piece.calls.append({"id": id, "function": function})
            case Answered(id, text):
                if piece != _Piece():
                    yield piece.values()
                    piece = _Piece()
                yield {"role": "tool", "content": text, "tool_call_id": id}
    if piece != _Piece():
        yield piece.values()


def _arguments(value: object) -> str:
    return value if isinstance(value, str) else dump({} if value is None else value)


def dump(value: object) -> str:
    """The value as JSON text."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise RefusedError(f"The content has a number that JSON does not have: {error}") from error
