"""Values in every format alike: instants as RFC 3339 with milliseconds, ids as hex digits, the rest as text or JSON.

Half of a surrogate pair, which no database stores and UTF-8 cannot say, becomes U+FFFD rather than end an export.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import orjson
from bson import ObjectId

_HALF = re.compile("[\ud800-\udfff]")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MINUTE = timedelta(minutes=1)


Encoder: TypeAlias = Callable[[Any], Any]


class Encoders(dict[type, Encoder]):
    """Functions by the type of their argument; a subclass uses its nearest ancestor's, an unknown type is TypeError."""

    def __missing__(self, kind: type) -> Encoder:
        for ancestor in kind.__mro__:
            if ancestor in self:
                self[kind] = self[ancestor]
                return self[kind]
        raise TypeError(f"a value of type {kind.__name__} cannot be exported")

    def column(self, values: Sequence[object]) -> list[Any]:
        """The values of a column. Most columns hold one type, whose function is then looked up once, and many nothing:
        row by row an export costs half as much again."""
        if is_empty(values):
            return [self[type(None)](None)] * len(values)
        kinds = set(map(type, values))
        if len(kinds) != 1:
            return [self[type(value)](value) for value in values]
        return list(map(self[kinds.pop()], values))


def is_empty(column: Sequence[object]) -> bool:
    """Whether there is nothing in a column but None."""
    return column[0] is None and column.count(None) == len(column)


def encodable(text: str) -> str:
    """`text` as UTF-8 can say it."""
    return _HALF.sub("\ufffd", text)


def instant_text(value: datetime) -> str:
    """2026-11-22T07:36:00.123Z; raises ValueError for a time without a zone, which would be a guess."""
    text = value.isoformat(timespec="milliseconds")
    if text.endswith("+00:00"):  # the usual case, found in two thirds of the time
        return text[:-6] + "Z"
    if value.utcoffset() is None:
        raise ValueError(f"{value} has no time zone")
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def local(value: datetime, zone: ZoneInfo) -> datetime:
    """The instant in that zone; unchanged where the calendar ends, in the first and last hours of the years 1 and 9999.
    Raises ValueError for a time without a zone."""
    if value.tzinfo is None:
        raise ValueError(f"{value} has no time zone")
    try:
        return value.astimezone(zone)
    except OverflowError:
        return value


def instant_text_in(zone: ZoneInfo) -> Callable[[datetime], str]:
    """A function that gives 2026-11-22T15:36:00.123+08:00, the instant as that zone's clocks and offset.

    UTC is `Z`. Offsets of the time before zones, such as +00:53:28, are none that RFC 3339 knows: those are UTC too.
    """
    if zone.key == "UTC":
        return instant_text

    def text(value: datetime) -> str:
        shown = local(value, zone)
        offset = shown.utcoffset()
        if offset is None or offset % _MINUTE:
            return instant_text(value)
        return shown.isoformat(timespec="milliseconds")

    return text


def stored_date(text: str) -> date | None:
    """The day of a date as it is stored, YYYY-MM-DD; None for anything else, such as 2026-02-30."""
    try:
        return date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        return None


_AS_JSON = Encoders({datetime: instant_text, date: date.isoformat, ObjectId: str, str: str, int: int, float: float})


def _default(value: object) -> object:
    return _AS_JSON[type(value)](value)


def json_bytes(value: object, option: int = 0) -> bytes:
    """Compact JSON in UTF-8; numbers that are not finite are null. Raises TypeError for a type that is no value."""
    try:
        return orjson.dumps(value, _default, option | orjson.OPT_PASSTHROUGH_DATETIME)
    except TypeError:
        # Half a surrogate pair, an integer beyond 64 bits, or a real mistake, which raises again.
        text = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode() + (b"\n" if option & orjson.OPT_APPEND_NEWLINE else b"")


def _plain(value: object) -> object:
    """The value of nothing but what the standard library writes as orjson would."""
    match value:
        case None | bool() | int():
            return value
        case str():
            return encodable(value)
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {encodable(name): _plain(member) for name, member in value.items()}
        case list() | tuple():
            return [_plain(member) for member in value]
    return _default(value)


def json_text(value: object) -> str:
    """Compact JSON: a list or mapping within one cell, without loss."""
    return json_bytes(value).decode()


PLAIN = Encoders(
    {
        str: lambda text: text,
        bool: lambda value: "true" if value else "false",
        int: str,
        float: repr,
        datetime: instant_text,
        date: date.isoformat,
        ObjectId: str,
        list: json_text,
        tuple: json_text,
        dict: json_text,
    }
)
"""Every value except None as text."""
