"""Values in every format alike: instants as RFC 3339 in UTC with milliseconds, ids as hex digits, the rest as JSON."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import orjson
from bson import ObjectId


class Encoders(dict[type, Callable[[Any], Any]]):
    """Functions by the type of their argument; a subclass uses its nearest ancestor's, an unknown type is TypeError."""

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        for ancestor in kind.__mro__:
            if ancestor in self:
                self[kind] = self[ancestor]
                return self[kind]
        raise TypeError(f"a value of type {kind.__name__} cannot be exported")


def instant_text(value: datetime) -> str:
    """2026-11-22T07:36:00.123Z; raises ValueError for a time without a zone, which would be a guess."""
    offset = value.utcoffset()
    if offset is None:
        raise ValueError(f"{value} has no time zone")
    if offset:
        value = value.astimezone(UTC)
    return value.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


_AS_JSON = Encoders({datetime: instant_text, date: date.isoformat, ObjectId: str, str: str, int: int, float: float})


def _default(value: object) -> object:
    return _AS_JSON[type(value)](value)


def json_bytes(value: object, option: int = 0) -> bytes:
    """Compact JSON in UTF-8; raises TypeError for what JSON cannot hold, such as half a surrogate pair."""
    return orjson.dumps(value, _default, option | orjson.OPT_PASSTHROUGH_DATETIME)


def json_text(value: object) -> str:
    """Compact JSON: a list or mapping within one cell, without loss."""
    return json_bytes(value).decode()
