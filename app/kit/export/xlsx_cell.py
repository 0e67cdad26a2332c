"""Cells of a workbook: every value as what a sheet can hold without changing it, or as text.

- Text stays text, never a formula, number or link. Characters that XML cannot hold are removed, but half a surrogate
  pair becomes U+FFFD; CR LF and CR become LF, the only line break of a cell.
- Instants become serial days as the clocks of the time zone show them, dates serial days, both displayed by their
  column's number format; Excel's calendar is wrong before 1900-03-01, so earlier ones are ISO 8601 text.
- Integers beyond 15 digits and numbers that are not finite become text, because a sheet would round or refuse them.
- Text beyond 32,767 UTF-16 units, Excel's limit of a cell, is cut into parts for further cells.
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo

from bson.tz_util import utc

from app.kit.export.value import PLAIN, Encoder, Encoders, encodable, instant_text_in, json_text, local, stored_date
from app.kit.resource import Kind

Cell: TypeAlias = str | int | float | bool | None

CELL_UNITS = 32_767
ALWAYS_FITS = CELL_UNITS // 2
"""Characters: a text of no more fits a cell whatever they are, since none takes more than two UTF-16 units."""
_EXACT_INTEGER = 10**15
_DAY = timedelta(days=1)
_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - a sheet knows no zones
_UTC_EPOCH = _EPOCH.replace(tzinfo=utc)
_FIRST_RIGHT_DAY = 61
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_LINE_BREAK = re.compile("\r\n?")
_ESCAPE_LIKE = re.compile("_(?=x[0-9A-Fa-f]{4}_)")
_ESCAPED = re.compile("_x005F_(?=x[0-9A-Fa-f]{4}_)", re.IGNORECASE)


def clean(text: str) -> str:
    """`text` as a cell can hold it."""
    if text.isprintable():  # the usual case, found in half the time
        return text
    return _LINE_BREAK.sub("\n", _ILLEGAL.sub("", encodable(text)))


def parts(text: str) -> list[str]:
    """`text` cut into pieces of at most 32,767 UTF-16 units, never within a character; at least one piece."""
    if len(text) <= ALWAYS_FITS or (len(text) <= CELL_UNITS and text.isascii()):
        return [text]
    units = text.encode("utf-16-le")
    pieces, start = [], 0
    while start < len(units):
        end = start + CELL_UNITS * 2
        if end < len(units) and 0xD8 <= units[end - 1] <= 0xDB:
            end -= 2
        pieces.append(units[start:end].decode("utf-16-le"))
        start = end
    return pieces


def escape(text: str) -> str:
    """`text` for a writer that does not escape: a spreadsheet reads `_x0041_` as "A" (ECMA-376 part 1, 22.9.2.19)."""
    return _ESCAPE_LIKE.sub("_x005F_", text)


def unescape(text: str) -> str:
    """The text of a cell read by openpyxl, which undoes the escape in shared strings but not in those of a cell."""
    return _ESCAPED.sub("_", text)


def _integer(value: int) -> Cell:
    return int(value) if -_EXACT_INTEGER < value < _EXACT_INTEGER else str(value)


def _number(value: float) -> Cell:
    return value if math.isfinite(value) else str(value)


def _instant_in(zone: ZoneInfo) -> Callable[[datetime], Cell]:
    text, is_utc = instant_text_in(zone), zone.key == "UTC"

    def cell(value: datetime) -> Cell:
        if is_utc and value.tzinfo is utc:  # as the driver gives them: a quarter of the time
            days = (value - _UTC_EPOCH) / _DAY
        else:
            days = (local(value, zone).replace(tzinfo=None) - _EPOCH) / _DAY
        return days if days >= _FIRST_RIGHT_DAY else text(value)

    return cell


def _date(value: date) -> Cell:
    days = (datetime(value.year, value.month, value.day) - _EPOCH) / _DAY  # noqa: DTZ001
    return days if days >= _FIRST_RIGHT_DAY else value.isoformat()


def _date_text(text: str) -> Cell:
    day = stored_date(text)
    return _date(day) if day else clean(text)


def _json(value: object) -> Cell:
    return clean(json_text(value))


_ANY: Mapping[type, Encoder] = {
    **PLAIN,
    type(None): lambda _: None,
    str: clean,
    bool: bool,
    int: _integer,
    float: _number,
    list: _json,
    tuple: _json,
    dict: _json,
}


def encoders(kind: Kind, zone: ZoneInfo) -> Encoders:
    """The functions that make cells of a column of this kind: only columns of times show a number as a time."""
    if kind not in ("instant", "date"):
        return Encoders({**_ANY, datetime: instant_text_in(zone)})
    times: dict[type, Encoder] = {**_ANY, datetime: _instant_in(zone), date: _date, int: str, float: str}
    if kind == "date":
        times[str] = _date_text
    return Encoders(times)
