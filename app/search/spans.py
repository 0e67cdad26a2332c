"""Spans: the part of a list that is looked into, by keys, in either direction."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.search.keys import ID_BYTES, Key
from app.search.segments import Outline


@dataclass(frozen=True)
class Span:
    """Keys from `first` to `last`, both included; in descending order if so."""

    first: Key
    last: Key
    is_descending: bool

    def overlaps(self, outline: Outline) -> bool:
        return outline.first_key <= self.last and self.first <= outline.last_key

    def holds(self, key: Key) -> bool:
        return self.first <= key <= self.last

    def comes_before(self, key: Key, other: Key) -> bool:
        """Whether a key is earlier in the order."""
        return key > other if self.is_descending else key < other

    def first_keys(self, outline: Outline, count: int) -> Sequence[Key]:
        """Of the first keys of a segment's chunks up to so many, those that the span comes to first."""
        keys = outline.keys_before(self.last, count) if self.is_descending else outline.keys_from(self.first, count)
        return [key for key in keys if self.holds(key)]


LOWEST: Key = (-(2**63), bytes(ID_BYTES))
HIGHEST: Key = (2**63 - 1, b"\xff" * ID_BYTES)
