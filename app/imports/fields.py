"""Values of imported records, checked against the limits of the store: taken as they are, or refused with a reason."""

import math
import reprlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from pydantic import TypeAdapter, ValidationError

TAG_LIMIT = 100  # characters
METADATA_KEY_LIMIT = 64
METADATA_VALUE_LIMIT = 512
METADATA_PAIRS = 16
TAGS = 64
_LARGEST = 2**63 - 1


class RefusedError(Exception):
    """A record that cannot be imported; the text is one sentence that says why."""


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


def optional_text(value: object, what: str, limit: int | None = None) -> str | None:
    """The same; an absent or empty one is None."""
    return None if value is None else text(value, what, limit) or None


def choice(value: object, what: str, choices: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise RefusedError(f"{what} {reprlib.repr(value)} is none of {', '.join(choices)}")
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


def identity(value: object, what: str) -> ObjectId | None:
    """One of our own ids."""
    if value is None:
        return None
    if not isinstance(value, str) or not ObjectId.is_valid(value):
        raise RefusedError(f"{what} {reprlib.repr(value)} is not an id of 24 hexadecimal digits")
    return ObjectId(value)


def number(value: object, what: str) -> float | None:
    """A finite number that is not negative."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise RefusedError(f"{what} {reprlib.repr(value)} is not a number of at least 0")
    return float(value)


def integer(value: object, what: str) -> int | None:
    """A whole number that is not negative."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise RefusedError(f"{what} {reprlib.repr(value)} is not a whole number of at least 0")
    return value


def structure(shape: TypeAdapter[Any], value: object, what: str) -> Any:
    """The value as plain data of a shape; None stays None."""
    if value is None:
        return None
    try:
        return shape.dump_python(shape.validate_python(value))
    except (ValidationError, UnicodeError) as error:
        if isinstance(error, UnicodeError):
            raise RefusedError(f"{what} holds half of a surrogate pair") from error
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RefusedError(f"{what} cannot be used: {place + ': ' if place else ''}{first['msg']}") from error


def tags(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise RefusedError(f"The tags are not a list but {reprlib.repr(value)}")
    if len(value) > TAGS:
        raise RefusedError(f"There are {len(value):,} tags, more than {TAGS}")
    found = tuple(text(tag, f"Tag {number}", TAG_LIMIT) for number, tag in enumerate(value, start=1))
    if not all(tag.strip() for tag in found):
        raise RefusedError("A tag is empty")
    return found


def metadata(value: object) -> dict[str, str]:
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
