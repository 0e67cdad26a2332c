"""Searches that no index answers: they read a list in slices, and say how far they came when their time is over.

A slice is the next rows of the list without the search: a cheap query finds where it ends, and the search is asked of
the rows up to there. So it is known after each slice that everything before has been looked at, whatever was found.
Slices grow while they are quick. One that takes too long, or holds a text on which the pattern exhausts PCRE, is tried
again with fewer rows, down to one.
"""

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from bson import ObjectId
from pymongo.errors import OperationFailure

from app.kit.effort import Effort
from app.kit.errors import QueryTooExpensive
from app.kit.pages import MAX_PAGE_BYTES, Row, Run
from app.kit.paging import Position, Sort, after, between
from app.kit.search import Search

_PATTERN_TOO_COMPLEX = 51156
GIVEN_UP = frozenset({50, 292, _PATTERN_TOO_COMPLEX})
"""What the server says when it ends a query that costs too much: its time, its memory for sorting, PCRE's limits."""


class Find(Protocol):
    """Reads up to `size` rows that meet all conditions; `skip` as many before them."""

    def __call__(
        self,
        conditions: Sequence[Mapping[str, Any]],
        sort: Sort,
        size: int,
        *,
        seconds: float,
        skip: int = 0,
        keys_only: bool = False,
    ) -> Coroutine[Any, Any, Run]: ...


@dataclass(frozen=True)
class Pace:
    """How much is read at once: rows, and seconds that the server may take."""

    first_rows: int = 128
    most_rows: int = 100_000
    slice_seconds: float = 0.075
    """What a slice should take."""
    longest_slice_seconds: float = 0.2
    free_seconds: float = 0.1
    """What a search may take before it has to take its turn."""
    index_seconds: float = 0.3
    """What the index may take before the rows are read instead."""

    def next_rows(self, rows: int, seconds: float) -> int:
        """The size of the slice behind one of `rows` that took `seconds`."""
        fitting = int(rows * min(8.0, self.slice_seconds / max(seconds, 1e-6)))
        return max(1, min(fitting, self.most_rows))

    @staticmethod
    def fewer_rows(rows: int) -> int:
        """The size of the slice in place of one that could not be read."""
        return max(1, rows // 8)


class SearchReader:
    """Reads the rows of a list that are found, from a place on and within the effort that is left; a `Read`."""

    def __init__(
        self,
        find: Find,
        filters: Sequence[Mapping[str, Any]],
        searches: Sequence[Search],
        effort: Effort,
        pace: Pace,
        *,
        is_indexed: bool,
    ) -> None:
        """`filters`: conditions of the list without the searches. `is_indexed`: an index, or that there are few rows,
        lets one expect the answer at once."""
        self._find = find
        self._filters = filters
        self._searches = searches
        self._effort = effort
        self._pace = pace
        self._may_use_index = is_indexed
        self._rows = pace.first_rows

    async def __call__(self, sort: Sort, start: Position | None, size: int) -> Run:
        """Raises QueryTooExpensive when not even one row could be looked at, and TooManySearches."""
        if (run := await self._by_index(sort, start, size, self._pace.free_seconds)) is not None:
            return run
        if self._effort.left <= 0:
            raise QueryTooExpensive
        await self._effort.take_place()
        if (run := await self._by_index(sort, start, size, self._pace.index_seconds)) is not None:
            return run
        self._may_use_index = False
        return await self._by_slices(sort, start, size)

    async def _by_index(self, sort: Sort, start: Position | None, size: int, seconds: float) -> Run | None:
        """The rows; None when that takes too long, or there is no index."""
        conditions = [*(search.indexed_condition for search in self._searches), *self._filters]
        seconds = min(seconds, self._effort.left)
        if not self._may_use_index or seconds <= 0:
            return None
        try:
            return await self._find([*conditions, *_behind(sort, start)], sort, size, seconds=seconds)
        except OperationFailure as error:
            if error.code not in GIVEN_UP:
                raise
            return None

    async def _by_slices(self, sort: Sort, start: Position | None, size: int) -> Run:
        rows: list[Row] = []
        reached, bytes_read = start, 0
        while self._effort.left > 0:
            try:
                piece = await self._slice(sort, reached, size - len(rows))
            except QueryTooExpensive:
                if reached is start:
                    raise
                break
            if piece is None:
                continue
            rows += piece.run.rows
            bytes_read += piece.run.bytes
            is_full = len(rows) >= size or bytes_read >= MAX_PAGE_BYTES
            if piece.end is None or not piece.run.is_last or is_full:
                return Run(rows, piece.end is None and piece.run.is_last)
            reached = piece.end
        if reached is None or reached is start:
            raise QueryTooExpensive
        return Run(rows, is_last=False, stopped_at=replace(reached, passed=True))

    async def _slice(self, sort: Sort, start: Position | None, size: int) -> "_Slice | None":
        """The next slice; None when it has to be tried again with fewer rows. Raises QueryTooExpensive."""
        began, end = self._effort.clock(), None
        try:
            end = await self._end(sort, start)
            bounds = _behind(sort, start) if end is None else [between(sort, start, end)]
            conditions = [*(search.condition for search in self._searches), *self._filters, *bounds]
            run = await self._find(conditions, sort, size, seconds=self._slice_seconds)
        except OperationFailure as error:
            if error.code not in GIVEN_UP:
                raise
            if self._rows == 1:
                raise refusal(error, None if end is None else end.id) from error
            self._rows = self._pace.fewer_rows(self._rows)
            return None
        self._rows = self._pace.next_rows(self._rows, self._effort.clock() - began)
        return _Slice(run, end)

    async def _end(self, sort: Sort, start: Position | None) -> Position | None:
        """The last place of the slice; None when it reaches to the end of the list."""
        conditions = [*self._filters, *_behind(sort, start)]
        run = await self._find(conditions, sort, 1, seconds=self._slice_seconds, skip=self._rows - 1, keys_only=True)
        return Position.of(run.rows[0], sort) if run.rows else None

    @property
    def _slice_seconds(self) -> float:
        left = self._effort.left
        return left if self._rows == 1 else min(left, self._pace.longest_slice_seconds)


@dataclass(frozen=True)
class _Slice:
    """What was found in a slice, and where it ends; None at the end of the list."""

    run: Run
    end: Position | None


def _behind(sort: Sort, start: Position | None) -> list[Mapping[str, Any]]:
    return [] if start is None else [after(sort, start)]


def refusal(error: OperationFailure, id: ObjectId | None) -> QueryTooExpensive:
    """Why a single row could not be looked at."""
    if error.code != _PATTERN_TOO_COMPLEX or id is None:
        return QueryTooExpensive()
    return QueryTooExpensive(
        f"The pattern is too complex for the text of {id}; make it simpler, or leave this one out: id__ne={id}."
    )
