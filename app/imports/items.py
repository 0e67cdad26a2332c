"""Files of JSON items, each a conversation of its own: an array of them, or one after the other."""

import reprlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from app.imports.errors_file import as_it_came
from app.imports.fields import RefusedError
from app.imports.json_array import BrokenArrayError, ItemReader
from app.imports.records import BadRecord, ImportedConversation, Record
from app.imports.streams import DamagedError, Entry

Object = dict[str, Any]
Build = Callable[[Object, int], ImportedConversation]
"""Makes a conversation of an item and its position; raises RefusedError."""


def read_items(entry: Entry, first: int, build: Build) -> Iterator[Record]:
    """A record for each item, counted from `first`; broken JSON ends the file with a `BadRecord`."""
    position = first
    try:
        for item in ItemReader(entry):
            yield _record(as_it_came(item, str), position, build)
            position += 1
    except (BrokenArrayError, DamagedError) as error:
        yield BadRecord(position, f"Nothing could be read from here on: {error}")


def _record(item: object, position: int, build: Build) -> Record:
    try:
        return build(as_object(item, "The item"), position)
    except RefusedError as error:
        return BadRecord(position, str(error), item)


def as_object(value: object, what: str) -> Object:
    """The value if it is an object; raises RefusedError."""
    if not isinstance(value, dict):
        raise RefusedError(f"{what} is not an object")
    return value


def as_list(value: object, what: str) -> list[Any]:
    """The value if it is a list; an absent one is empty. Raises RefusedError."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise RefusedError(f"{what} are not a list but {reprlib.repr(value)}")
    return value


def text_of(value: Mapping[str, Any], *members: str) -> str:
    """The first of these members that is a text with something in it; empty without."""
    return next((each for member in members if isinstance(each := value.get(member), str) and each), "")
