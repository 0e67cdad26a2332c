"""One page of a list in either direction, and whether there are rows on both sides of it.

Reading begins with the row of the cursor, which the page leaves out: that it is there proves that there are rows behind
the reader. Only where that row has gone or moved this takes a query of its own.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from app.kit.paging import Position, Sort

Row = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """Rows that follow each other in a list, and whether they are its last ones.

    `stopped_at`: where a search gave up for now, having looked at everything up to there; it may go on behind it.
    """

    rows: list[Row]
    is_last: bool
    stopped_at: Position | None = None


Read = Callable[[Sort, Position | None, int], Awaitable[Run]]
"""Reads up to so many rows from a place on (or from the beginning), fewer where they are very long."""


@dataclass(frozen=True)
class Leaf:
    """The rows of a page in the list's order; where the list goes on after it and before it, None at its ends."""

    rows: list[Row]
    next: Position | None
    prev: Position | None


async def open_leaf(read: Read, sort: Sort, limit: int, position: Position | None, *, is_backward: bool) -> Leaf:
    """The `limit` rows behind `position`, or before it, or the first ones without it."""
    direction = sort.reversed if is_backward else sort
    rows, has_more, has_behind = await _rows(read, direction, limit, position)
    edges = [Position.of(row, sort) for row in (rows[0], rows[-1])] if rows else _around(position)
    behind = edges[0] if has_behind else None
    ahead = edges[1] if has_more else None
    return Leaf(rows[::-1], behind, ahead) if is_backward else Leaf(rows, ahead, behind)


async def _rows(read: Read, sort: Sort, limit: int, position: Position | None) -> tuple[list[Row], bool, bool]:
    """The rows in the direction of reading, whether there are more ahead, and whether there are some behind."""
    if position is None:
        run = await read(sort, None, limit)
        return run.rows, not run.is_last, False
    run = await read(sort, replace(position, included=True), limit + 1)
    rows, is_last = run.rows, run.is_last
    is_there = not position.included and bool(rows) and Position.of(rows[0], sort) == position
    if is_there and len(rows) == 1 and not is_last:  # it fills a reply of the database alone
        run = await read(sort, position, limit)
        rows, is_last = run.rows, run.is_last
    elif is_there:
        del rows[0]
    has_more = not is_last or len(rows) > limit
    del rows[limit:]
    return rows, has_more, is_there or await _is_any_behind(read, sort, rows, position)


async def _is_any_behind(read: Read, sort: Sort, rows: list[Row], position: Position) -> bool:
    edge = Position.of(rows[0], sort) if rows else replace(position, included=True)
    behind = await read(sort.reversed, edge, 1)
    return bool(behind.rows)


def _around(position: Position | None) -> list[Position | None]:
    """The edges of a page without rows: what lies around it may be the row of the cursor itself."""
    return [None if position is None else replace(position, included=True)] * 2
