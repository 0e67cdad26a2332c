"""One page of a list in either direction, and whether there are rows on both sides of it.

Reading begins with the row of the cursor, which the page leaves out: that it is there proves that there are rows behind
the reader. Only where that row has gone or moved this takes a query of its own.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from app.kit.errors import QueryTooExpensive, TooManySearches
from app.kit.paging import Position, Sort

Row = dict[str, Any]
MAX_PAGE_BYTES = 16 * 1024 * 1024
"""What one reply of the database holds, and about as much a page."""


@dataclass(frozen=True)
class Run:
    """Rows that follow each other in a list, and whether they are its last ones.

    `stopped_at`: where a search gave up for now, having looked at everything up to there; it may go on behind it.
    `bytes`: how long the rows are, as stored.
    """

    rows: list[Row]
    is_last: bool
    stopped_at: Position | None = None
    bytes: int = 0

    def end(self, sort: Sort) -> Position | None:
        """Up to where everything is known; None at the end of the list."""
        if self.is_last:
            return None
        return self.stopped_at or Position.of(self.rows[-1], sort)


Read = Callable[[Sort, Position | None, int], Awaitable[Run]]
"""Reads up to so many rows from a place on (or from the beginning), fewer where they are very long."""


@dataclass(frozen=True)
class Leaf:
    """The rows of a page in the list's order; where the list goes on after it and before it, None at its ends.

    `partial`: there may have been more rows for this page; the search gave up for now.
    """

    rows: list[Row]
    next: Position | None
    prev: Position | None
    partial: bool = False


async def open_leaf(read: Read, sort: Sort, limit: int, position: Position | None, *, is_backward: bool) -> Leaf:
    """The `limit` rows behind `position`, or before it, or the first ones without it."""
    direction = sort.reversed if is_backward else sort
    run, has_behind = await _run(read, direction, limit, position)
    rows = run.rows
    edges = [Position.of(row, sort) for row in (rows[0], rows[-1])] if rows else _around(position)
    behind = edges[0] if has_behind else None
    ahead = run.stopped_at or (None if run.is_last else edges[1])
    partial = run.stopped_at is not None and len(rows) < limit
    return Leaf(rows[::-1], behind, ahead, partial) if is_backward else Leaf(rows, ahead, behind, partial)


async def _run(read: Read, sort: Sort, limit: int, position: Position | None) -> tuple[Run, bool]:
    """The page's rows in the direction of reading, and whether there may be some behind the reader."""
    if position is None or position.passed:
        return await read(sort, position, limit), position is not None
    run = await read(sort, replace(position, included=True), limit + 1)
    is_there = not position.included and bool(run.rows) and Position.of(run.rows[0], sort) == position
    if is_there and len(run.rows) == 1 and not run.is_last and run.stopped_at is None:
        return await read(sort, position, limit), True  # it fills a reply of the database alone
    if is_there:
        del run.rows[0]
    if len(run.rows) > limit:
        run = Run(run.rows[:limit], is_last=False)
    return run, is_there or await _is_any_behind(read, sort, run.rows, position)


async def _is_any_behind(read: Read, sort: Sort, rows: list[Row], position: Position) -> bool:
    """Also when a search cannot tell."""
    edge = Position.of(rows[0], sort) if rows else replace(position, included=True)
    try:
        behind = await read(sort.reversed, edge, 1)
    except (QueryTooExpensive, TooManySearches):
        return True
    return bool(behind.rows) or behind.stopped_at is not None


def _around(position: Position | None) -> list[Position | None]:
    """The edges of a page without rows: what lies around it may be the row of the cursor itself."""
    return [None if position is None else replace(position, included=True)] * 2
