"""What a reader yields: conversations that meet every limit of the store, and records that do not, with the reason.

Nothing is cut or replaced to make it fit: a record is taken whole or refused whole. The builders take values as they
came out of a file and raise `RefusedError`; only they make conversations and messages, so an instance always fits.
"""

import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bson import ObjectId
from pydantic import TypeAdapter

from app.conversations.model import MESSAGE_ROLES, MESSAGE_STATUSES, Fault, TokenUsage, ToolCall
from app.conversations.schemas import FeedbackInput
from app.imports.fields import (
    RefusedError,
    choice,
    identity,
    instant,
    metadata,
    number,
    optional_text,
    structure,
    tags,
    text,
)

ROLES: tuple[str, ...] = MESSAGE_ROLES
STATUSES = ("active", "archived")
SOURCE_ID_LIMIT = 500  # characters, like the next ones
TITLE_LIMIT = 500
MODEL_LIMIT = 200
NAME_LIMIT = 256
SYSTEM_PROMPT_LIMIT = 100_000
CONTENT_LIMIT = 1024 * 1024  # bytes of UTF-8

_TOOL_CALLS = TypeAdapter(list[ToolCall])
_FEEDBACK = TypeAdapter(FeedbackInput)
_USAGE = TypeAdapter(TokenUsage)
_FAULT = TypeAdapter(Fault)


@dataclass(frozen=True)
class ImportedMessage:
    """One message; `role` is one of `ROLES`, `created_at` is UTC in whole milliseconds, `id` the one it had here."""

    role: str
    content: str
    created_at: datetime | None = None
    model: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    status: str = "complete"
    provider: str | None = None
    usage: dict[str, int] | None = None
    cost: float | None = None
    finish_reason: str | None = None
    error: dict[str, str] | None = None
    feedback: dict[str, Any] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    reasoning: str | None = None
    id: ObjectId | None = None

    @property
    def characters(self) -> int:
        return len(self.content) + len(self.reasoning or "")


@dataclass(frozen=True)
class ImportedConversation:
    """One conversation; `source_id` is its id where it came from and may occur twice in one file.

    `position` counts from 1: the line of a JSON Lines file, the index in an array, the row of a table. `is_ours`: it
    was exported here, so that the source id is the id it had, and the times are those it had.
    """

    source_id: str
    title: str
    tags: tuple[str, ...]
    messages: tuple[ImportedMessage, ...]
    created_at: datetime | None
    position: int
    system_prompt: str | None = None
    model: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    status: str = "active"
    updated_at: datetime | None = None
    last_message_at: datetime | None = None
    is_ours: bool = False

    @property
    def characters(self) -> int:
        """Of all its messages."""
        return sum(message.characters for message in self.messages)


@dataclass(frozen=True)
class BadRecord:
    """A record that was not imported: where it is (see `ImportedConversation.position`) and why, in one sentence.

    `raw`: the record as it came, a text or what JSON decodes to; None when it is too long or was not read.
    """

    position: int
    reason: str
    raw: object = None


@dataclass(frozen=True)
class Pause:
    """Nothing to store yet: a reader that has to see much of its file first lets others look at its progress."""


Record = ImportedConversation | BadRecord


def build_conversation(
    position: int,
    *,
    source_id: object,
    title: object,
    tags: object,
    messages: Iterable[ImportedMessage],
    created_at: object,
    more: Mapping[str, object] = {},
) -> ImportedConversation:
    """The conversation made of these values; an absent title or list of tags is an empty one.

    `more`: system_prompt, model, metadata, status, updated_at and last_message_at, as far as they are known.
    """
    known = text(source_id, "The id", SOURCE_ID_LIMIT) if source_id is not None else ""
    if not known:
        raise RefusedError("The id is missing or empty")
    status = more.get("status")
    return ImportedConversation(
        source_id=known,
        title=text(title, "The title", TITLE_LIMIT) if title is not None else "",
        tags=_tags(tags),
        messages=tuple(messages),
        created_at=instant(created_at),
        position=position,
        system_prompt=optional_text(more.get("system_prompt"), "The system prompt", SYSTEM_PROMPT_LIMIT),
        model=optional_text(more.get("model"), "The model", MODEL_LIMIT),
        metadata=metadata(more.get("metadata")),
        status="active" if status is None else choice(status, "The status", STATUSES),
        updated_at=instant(more.get("updated_at")),
        last_message_at=instant(more.get("last_message_at")),
    )


_tags = tags


def build_message(
    role: object, content: object, *, created_at: object = None, model: object = None, metadata: object = None
) -> ImportedMessage:
    """The message made of these values."""
    return build_full_message(
        {"role": role, "content": content, "created_at": created_at, "model": model, "metadata": metadata}
    )


def build_full_message(values: Mapping[str, object]) -> ImportedMessage:
    """The message made of values by the names of the fields of `ImportedMessage`; what is absent has its default."""
    role, get = values.get("role"), values.get
    if role not in ROLES:
        raise RefusedError(f"The role {reprlib.repr(role)} is none of {', '.join(ROLES)}")
    status = get("status")
    return ImportedMessage(
        role=str(role),
        content=_words(get("content")),
        created_at=instant(get("created_at")),
        model=optional_text(get("model"), "The model", MODEL_LIMIT),
        metadata=metadata(get("metadata")),
        status="complete" if status is None else _status(status),
        provider=optional_text(get("provider"), "The provider", MODEL_LIMIT),
        usage=structure(_USAGE, get("usage"), "The usage"),
        cost=number(get("cost"), "The cost"),
        finish_reason=optional_text(get("finish_reason"), "The finish reason", NAME_LIMIT),
        error=structure(_FAULT, get("error"), "The error"),
        feedback=structure(_FEEDBACK, get("feedback"), "The feedback"),
        tool_calls=structure(_TOOL_CALLS, get("tool_calls"), "The tool calls") or None,
        tool_call_id=optional_text(get("tool_call_id"), "The id of the tool call", NAME_LIMIT),
        reasoning=_reasoning(get("reasoning")),
        id=identity(get("id"), "The message's id"),
    )


def _words(value: object) -> str:
    words = text(value, "The content")
    if (size := len(words.encode())) > CONTENT_LIMIT:
        raise RefusedError(f"The content has {size:,} bytes of UTF-8, more than {CONTENT_LIMIT:,}")
    return words


def _reasoning(value: object) -> str | None:
    words = optional_text(value, "The reasoning")
    if words and (size := len(words.encode())) > CONTENT_LIMIT:
        raise RefusedError(f"The reasoning has {size:,} bytes of UTF-8, more than {CONTENT_LIMIT:,}")
    return words


def _status(value: object) -> str:
    # Nothing will ever finish an answer that was streaming in its file.
    status = choice(value, "The status", MESSAGE_STATUSES)
    return "interrupted" if status == "streaming" else status
