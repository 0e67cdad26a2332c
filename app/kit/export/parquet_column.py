"""Columns of a Parquet file: each kind as the type of its own, and as text where one of its values has no place in it.

The type of a column is decided by its kind, so files of the same export are alike and can be read as one table. Only a
value that this type would change or refuse, such as the birth date "2026-02-30", an integer beyond 64 bits or a text
among numbers, makes the whole column text: nothing is rounded, cut or dropped.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from app.kit.export.value import PLAIN, encodable, stored_date
from app.kit.resource import Kind

TEXT = pa.string()
_TYPES: Mapping[Kind, pa.DataType] = {
    "texts": pa.list_(TEXT),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
}
_HELD: Mapping[Kind, tuple[type, ...]] = {
    "texts": (list, tuple),
    "integer": (int,),
    "number": (float, int),
    "boolean": (bool,),
    "instant": (datetime,),
    "date": (str, date),
}
"""The types of the values that a column may hold; those of columns of text are any."""


_SPECIAL = (bool, datetime)
"""Python takes them for integers and dates; a column does not."""


class Misfit(Exception):
    """A value cannot be held by the type of its column; the column must become text."""


def arrow_type(kind: Kind, tz: str) -> pa.DataType:
    """The type of a column of this kind: instants are stored as UTC and shown in the zone `tz`."""
    return pa.timestamp("ms", tz) if kind == "instant" else _TYPES.get(kind, TEXT)


def typed(kind: Kind, values: Sequence[Any], target: pa.DataType) -> pa.Array:
    """The values as a column of `target`, which is the kind's own type or text. Raises Misfit when they do not fit."""
    if target == TEXT:
        return as_text(values)
    _require_types(values, _HELD[kind])
    try:
        return pa.array(_PREPARED.get(kind, list)(values), target)
    except UnicodeEncodeError:
        return pa.array([each and list(map(encodable, each)) for each in values], target)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise Misfit from error


def as_text(values: Sequence[Any]) -> pa.Array:
    """The values as text: what is text as it is, other values as CSV writes them."""
    if not set(map(type, values)) <= {str, type(None)}:
        values = [None if value is None else PLAIN[type(value)](value) for value in values]
    try:
        return pa.array(values, TEXT)
    except UnicodeEncodeError:
        return pa.array([value and encodable(value) for value in values], TEXT)


def _require_types(values: Sequence[Any], held: tuple[type, ...]) -> None:
    """Raise Misfit for a value that Arrow would take for something else: True for 1, 1.5 for 1, a number for a time."""
    for found in set(map(type, values)) - {type(None), *held}:
        PLAIN[found]  # refuses what is no value at all
        special = next((each for each in _SPECIAL if issubclass(found, each)), None)
        if not issubclass(found, held) or (special and special not in held):
            raise Misfit


def _instants(values: Sequence[Any]) -> Sequence[Any]:
    for value in values:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
    return values


def _days(values: Sequence[Any]) -> Sequence[Any]:
    days = [stored_date(value) if isinstance(value, str) else value for value in values]
    if days.count(None) != values.count(None):
        raise Misfit
    return days


_PREPARED: Mapping[Kind, Callable[[Sequence[Any]], Sequence[Any]]] = {"instant": _instants, "date": _days}
