"""What a reader yields: conversations that meet every limit of the store, and records that do not, with the reason.

Nothing is cut or replaced to make it fit: a record is taken whole or refused whole. The builders take values as they
came out of JSON and raise `RefusedError`; only they make conversations and messages, so an instance always fits.
"""

import math
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

ROLES = ("system", "user", "assistant", "tool")
SOURCE_ID_LIMIT = 500  # characters, like the next four
TITLE_LIMIT = 500
TAG_LIMIT = 100
MODEL_LIMIT = 200
METADATA_KEY_LIMIT = 64
METADATA_VALUE_LIMIT = 512
METADATA_PAIRS = 16
TAGS = 64
CONTENT_LIMIT = 1024 * 1024  # bytes of UTF-8


class RefusedError(Exception):
    """A record that cannot be imported; the text is one sentence that says why."""


@dataclass(frozen=True)
class ImportedMessage:
    """One message; `role` is one of `ROLES`, `created_at` is UTC in whole milliseconds."""

    role: str
    content: str
    created_at: datetime | None = None
    model: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ImportedConversation:
    """One conversation; `source_id` is its id where it came from and may occur twice in one file.

    `position` counts from 1: the line of a JSON Lines file, the index in an array of conversations.
    """

    source_id: str
    title: str
    tags: tuple[str, ...]
    messages: tuple[ImportedMessage, ...]
    created_at: datetime | None
    position: int

    @property
    def characters(self) -> int:
        """Of all its messages."""
        return sum(len(message.content) for message in self.messages)


@dataclass(frozen=True)
class BadRecord:
    """A record that was not imported: where it is (see `ImportedConversation.position`) and why, in one sentence."""

    position: int
    reason: str


Record = ImportedConversation | BadRecord


def build_conversation(
    position: int,
    *,
    source_id: object,
    title: object,
    tags: object,
    messages: Iterable[ImportedMessage],
    created_at: object,
) -> ImportedConversation:
    """The conversation made of these values; an absent title or list of tags is an empty one."""
    identity = text(source_id, "The id", SOURCE_ID_LIMIT) if source_id is not None else ""
    if not identity:
        raise RefusedError("The id is missing or empty")
    return ImportedConversation(
        source_id=identity,
        title=text(title, "The title", TITLE_LIMIT) if title is not None else "",
        tags=_tags(tags),
        messages=tuple(messages),
        created_at=instant(created_at),
        position=position,
    )


def build_message(
    role: object, content: object, *, created_at: object = None, model: object = None, metadata: object = None
) -> ImportedMessage:
    """The message made of these values."""
    if role not in ROLES:
        raise RefusedError(f"The role {reprlib.repr(role)} is none of {', '.join(ROLES)}")
    words = text(content, "The content")
    if (size := len(words.encode())) > CONTENT_LIMIT:
        raise RefusedError(f"The content has {size:,} bytes of UTF-8, more than {CONTENT_LIMIT:,}")
    return ImportedMessage(
        role=str(role),
        content=words,
        created_at=instant(created_at),
        model=text(model, "The model", MODEL_LIMIT) or None if model is not None else None,
        metadata=_metadata(metadata),
    )


def text(value: object, what: str, limit: int | None = None) -> str:
    """The value if it is a string that UTF-8 can hold, of at most `limit` characters; `what` begins the reason."""
    if not isinstance(value, str):
        raise RefusedError(f"{what} is not a string but {reprlib.repr(value)}")
    if limit is not None and len(value) > limit:
        raise RefusedError(f"{what} has {len(value):,} characters, more than {limit:,}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RefusedError(f"{what} holds half of a surrogate pair or bytes that are not UTF-8") from error
    return value


def instant(value: object) -> datetime | None:
    """The time in UTC, cut to milliseconds as the store keeps it: Unix seconds, or ISO 8601 (UTC unless it says so)."""
    try:
        moment = _parsed(value)
    except (ValueError, OverflowError, OSError) as error:
        raise RefusedError(f"The time {reprlib.repr(value)} is neither ISO 8601 nor Unix seconds") from error
    return moment and moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _parsed(value: object) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("not a time")
    return datetime.fromtimestamp(value, UTC)


def _tags(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise RefusedError(f"The tags are not a list but {reprlib.repr(value)}")
    if len(value) > TAGS:
        raise RefusedError(f"There are {len(value):,} tags, more than {TAGS}")
    tags = tuple(text(tag, f"Tag {number}", TAG_LIMIT) for number, tag in enumerate(value, start=1))
    if not all(tag.strip() for tag in tags):
        raise RefusedError("A tag is empty")
    return tags


def _metadata(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RefusedError(f"The metadata is not an object but {reprlib.repr(value)}")
    if len(value) > METADATA_PAIRS:
        raise RefusedError(f"The metadata has {len(value):,} pairs, more than {METADATA_PAIRS}")
    for key in value:
        # The store reads a leading $ as an operator and . as a path, and NUL ends a name.
        if not text(key, "A metadata key", METADATA_KEY_LIMIT) or key[0] == "$" or "." in key or "\0" in key:
            raise RefusedError(f"The metadata key {key!r} is empty, begins with '$' or holds '.' or NUL")
    return {key: text(each, f"The metadata {key!r}", METADATA_VALUE_LIMIT) for key, each in value.items()}
