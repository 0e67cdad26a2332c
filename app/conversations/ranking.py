"""The order of results by relevance.

A message's score depends on its own words alone, which never change, so that it keeps its place between two pages.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bson import ObjectId

from app.kit.paging import Position

_SATURATION = 1.2
_WEIGHT_OF_LENGTH = 0.75
_USUAL_LENGTH = 1000
"""Characters. BM25 has the mean length here; a constant does not change when a message comes."""

Row = dict[str, Any]
Key = tuple[float, datetime, ObjectId]


def score(matches: int, length: int) -> float:
    """BM25 for one term: more matches count for more, less and less so, and for less in a long text."""
    share = 1 - _WEIGHT_OF_LENGTH + _WEIGHT_OF_LENGTH * length / _USUAL_LENGTH
    return round(matches * (_SATURATION + 1) / (matches + _SATURATION * share), 4)


def key_of(row: Mapping[str, Any]) -> Key:
    """The highest is first: the best, of these the newest."""
    return row["score"], row["created_at"], row["_id"]


@dataclass(frozen=True)
class Window:
    """The messages that are ranked, from the newest to the oldest one; a cursor carries it, so that messages that come
    meanwhile change nothing. `has_more`: there are older matches."""

    newest: Position
    oldest: Position
    has_more: bool

    def holds(self, row: Mapping[str, Any]) -> bool:
        return (row["created_at"], row["_id"]) >= (self.oldest.value, self.oldest.id)

    @property
    def start(self) -> Position:
        return replace(self.newest, included=True)


def position_of(row: Mapping[str, Any], window: Window) -> Position:
    """The place of the row in the ranking of the window, for a cursor."""
    edges = [[edge.value, edge.id] for edge in (window.newest, window.oldest)]
    return Position({"key": list(key_of(row)), "window": edges, "more": window.has_more}, row["_id"])


def read_position(position: Position) -> tuple[Key, Window]:
    """What `position_of` has put into it."""
    newest, oldest = (Position(*edge) for edge in position.value["window"])
    rating, instant, id = position.value["key"]
    return (rating, instant, id), Window(newest, oldest, position.value["more"])


def ranked(rows: Iterable[Row], *, is_grouped: bool) -> list[Row]:
    """The rows in their order; of each conversation only the best, if they are grouped."""
    order: Sequence[Row] = sorted(rows, key=key_of, reverse=True)
    if not is_grouped:
        return list(order)
    best: dict[ObjectId, Row] = {}
    for row in order:
        best.setdefault(row["conversation_id"], row)
    return list(best.values())
