"""A list of found rows: those that segments have, and those that are in none yet, in one order.

The index only proposes: every row is asked for the real pattern by the database, with the scope and all filters, so a
row is found here exactly when reading the whole table would find it.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo.errors import OperationFailure

from app.kit.concurrency import both
from app.kit.effort import Effort
from app.kit.errors import QueryTooExpensive
from app.kit.pages import MAX_PAGE_BYTES, Read, Row, Run
from app.kit.paging import Position, Sort, between
from app.kit.scanning import GIVEN_UP, Find, Pace, refusal
from app.search.keys import ID_BYTES, Key, instant, key_of, milliseconds
from app.search.lookup import Demand, Lookup
from app.search.plans import Sought
from app.search.spans import HIGHEST, LOWEST, Span
from app.search.store import PartsGone

_CHEAP = 2000
"""So many candidates are looked at before a search has to take its turn with others that read much."""
_ATTEMPTS = 5
_SPARE = 1.5
"""So many times the candidates are asked for that should be enough."""
_FEWEST_KEYS, _MOST_KEYS = 64, 1024
"""Candidates that are looked at together."""
_WORTH_HALVING = 256
_GROWTH = 8
"""What is looked at next is at most so many times all that was: after few, it is not known how many are found."""

Conditions = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Sources:
    """Where rows come from: `by_id` reads them by their ids, `beside` too and at the same time, `along` in their
    order, `unmarked` those that no segment has."""

    by_id: Find
    beside: Find
    along: Find
    unmarked: Read


class IndexedReader:
    """Reads the rows of a list that are found, in the order of the index or its reverse; a `Read`.

    `conditions` are all of the list's, without the scope.
    """

    def __init__(
        self, lookup: Lookup, sought: Sought, sources: Sources, conditions: Conditions, effort: Effort, pace: Pace
    ) -> None:
        self._lookup = lookup
        self._sought = sought
        self._sources = sources
        self._conditions = conditions
        self._effort = effort
        self._pace = pace

    async def __call__(self, sort: Sort, start: Position | None, size: int) -> Run:
        """Raises QueryTooExpensive when not even one row could be looked at, and TooManySearches."""
        edge = self._lookup.edge(self._sought, self._span(sort, start), _SPARE * (size + 1))
        if edge is None:
            return await self._looked_up(sort, start, size)
        last = _position(edge)
        run = await self._along(sort, start, last, size)
        if run is None:
            return await self._looked_up(sort, start, size)
        if not run.is_last or len(run.rows) >= size:
            return replace(run, is_last=False)
        try:
            rest = await self._looked_up(sort, last, size - len(run.rows))
        except QueryTooExpensive:
            return Run(run.rows, False, replace(last, passed=True), run.bytes)
        return replace(rest, rows=run.rows + rest.rows, bytes=run.bytes + rest.bytes)

    async def _along(self, sort: Sort, start: Position | None, last: Position, size: int) -> Run | None:
        """The rows up to a place, all of which are read; None when that takes too long."""
        conditions = [*self._conditions, between(sort, start, last)]
        seconds = min(self._pace.free_seconds, self._effort.left)
        try:
            return await self._sources.along(conditions, sort, size, seconds=seconds)
        except OperationFailure as error:
            if error.code not in GIVEN_UP:
                raise
            return None

    async def _looked_up(self, sort: Sort, start: Position | None, size: int) -> Run:
        # In this order: what a segment takes over meanwhile is found there, perhaps twice, but never missed.
        unmarked = await self._sources.unmarked(sort, start, size)
        indexed = await self._indexed(sort, start, size)
        return _merged(sort, size, unmarked, indexed)

    async def _indexed(self, sort: Sort, start: Position | None, size: int) -> Run:
        found = _Found(sort, size)
        for _ in range(_ATTEMPTS):
            try:
                return await self._read_on(found, self._span(sort, found.reached or start))
            except PartsGone:
                continue  # its rows are in another segment now
        return found.stopped()

    async def _read_on(self, found: "_Found", span: Span) -> Run:
        async for keys in self._lookup.keys(self._sought, span, found.demand):
            ids = [ObjectId(id) for _, id in keys]
            positions = dict(zip(ids, keys, strict=True))
            while ids:
                if self._effort.left <= 0:
                    return found.stopped()
                if found.looked_at >= _CHEAP or found.seconds >= self._pace.free_seconds:
                    await self._effort.take_place()
                some, ids = ids[: found.at_once], ids[found.at_once :]
                run = await self._look_at(found, some)
                if run is None:
                    ids = some + ids
                    continue
                found.add(run, len(some), _position(positions[some[-1]]))
                if not run.is_last or found.is_full:
                    return Run(found.rows[: found.size], is_last=False, bytes=found.bytes)
        return Run(found.rows, is_last=True, bytes=found.bytes)

    async def _look_at(self, found: "_Found", ids: Sequence[ObjectId]) -> Run | None:
        """Those of the rows that are found; None when fewer have to be asked at once. Raises QueryTooExpensive."""
        left = self._effort.left
        seconds = left if len(ids) == 1 else min(left, self._pace.longest_slice_seconds)
        began = self._effort.clock()
        try:
            return await self._read(found, ids, seconds)
        except OperationFailure as error:
            if error.code not in GIVEN_UP:
                raise
            if len(ids) == 1:
                raise refusal(error, ids[0]) from error
            found.at_once = self._pace.fewer_rows(len(ids))
            return None
        finally:
            found.seconds += self._effort.clock() - began

    async def _read(self, found: "_Found", ids: Sequence[ObjectId], seconds: float) -> Run:
        """Those of the rows that are found; of many, both halves at the same time: each row is a read of its own."""

        def read(find: Find, some: Sequence[ObjectId]) -> Coroutine[Any, Any, Run]:
            conditions = [{"_id": {"$in": list(some)}}, *self._conditions]
            return find(conditions, found.sort, found.wanted, seconds=seconds)

        if len(ids) < _WORTH_HALVING:
            return await read(self._sources.by_id, ids)
        half = len(ids) // 2
        first, second = await both(read(self._sources.by_id, ids[:half]), read(self._sources.beside, ids[half:]))
        if not first.is_last:
            return first
        return Run(first.rows + second.rows, second.is_last, bytes=first.bytes + second.bytes)

    def _span(self, sort: Sort, start: Position | None) -> Span:
        low, high = _bounds(self._conditions, sort.path)
        if start is not None:
            key = key_of(start.value, start.id)
            if sort.descending:
                high = min(high, key if start.included else _neighbour(key, -1))
            else:
                low = max(low, key if start.included else _neighbour(key, 1))
        return Span(low, high, sort.descending)


@dataclass
class _Found:
    """What was found so far, and how far that is."""

    sort: Sort
    size: int
    rows: list[Row] = field(default_factory=list)
    bytes: int = 0
    looked_at: int = 0
    seconds: float = 0
    reached: Position | None = None
    at_once: int = _MOST_KEYS

    def __post_init__(self) -> None:
        self.demand = Demand(_within(_SPARE * self.wanted))

    @property
    def wanted(self) -> int:
        """How many more rows fill it; the last one only tells that there are more."""
        return self.size + 1 - len(self.rows)

    @property
    def is_full(self) -> bool:
        return len(self.rows) > self.size or self.bytes >= MAX_PAGE_BYTES

    def add(self, run: Run, looked_at: int, reached: Position) -> None:
        self.rows += run.rows
        self.bytes += run.bytes
        self.looked_at += looked_at
        self.reached = reached
        share = max(len(self.rows), 0.5) / self.looked_at
        self.demand.keys = _within(min(_SPARE * self.wanted / share, _GROWTH * self.looked_at))

    def stopped(self) -> Run:
        """Raises QueryTooExpensive when nothing was looked at."""
        if self.reached is None:
            raise QueryTooExpensive
        return Run(self.rows, False, replace(self.reached, passed=True), self.bytes)


def _within(keys: float) -> int:
    return max(_FEWEST_KEYS, min(int(keys), _MOST_KEYS))


def _merged(sort: Sort, size: int, *runs: Run) -> Run:
    """The rows of all runs in one order, up to where the first of them ends, none twice."""
    ends = [(_place(sort, end), run) for run in runs if (end := run.end(sort)) is not None]
    rows = {row["_id"]: row for run in runs for row in run.rows}
    ordered = sorted(rows.values(), key=lambda row: _place(sort, Position.of(row, sort)))
    bytes_read = sum(run.bytes for run in runs)
    if not ends:
        return Run(ordered[:size], is_last=len(ordered) <= size, bytes=bytes_read)
    edge, first = min(ends, key=lambda end: end[0])
    ordered = [row for row in ordered if _place(sort, Position.of(row, sort)) <= edge]
    stopped_at = None if len(ordered) >= size else first.stopped_at
    return Run(ordered[:size], False, stopped_at, bytes_read)


def _place(sort: Sort, position: Position) -> tuple[int, int]:
    """Numbers that are ordered as the list is."""
    time, id = key_of(position.value, position.id)
    sign = -1 if sort.descending else 1
    return sign * time, sign * int.from_bytes(id)


def _position(key: Key) -> Position:
    return Position(instant(key[0]), ObjectId(key[1]))


def _neighbour(key: Key, step: int) -> Key:
    """The key before (-1) or behind (1)."""
    number = int.from_bytes(key[1]) + step
    if number < 0:
        return key[0] - 1, HIGHEST[1]
    if number >= 256**ID_BYTES:
        return key[0] + 1, LOWEST[1]
    return key[0], number.to_bytes(ID_BYTES)


_NARROWS: Mapping[str, Callable[[Key, Key, int], tuple[Key, Key]]] = {
    "$gt": lambda low, high, time: (max(low, (time, LOWEST[1])), high),
    "$gte": lambda low, high, time: (max(low, (time, LOWEST[1])), high),
    "$lt": lambda low, high, time: (low, min(high, (time, HIGHEST[1]))),
    "$lte": lambda low, high, time: (low, min(high, (time, HIGHEST[1]))),
}


def _bounds(conditions: Conditions, path: str) -> tuple[Key, Key]:
    """Keys beyond which no row meets the conditions: those that say so plainly."""
    low, high = LOWEST, HIGHEST
    for condition in conditions:
        compared = condition.get(path)
        for operator, value in compared.items() if isinstance(compared, Mapping) else ():
            if operator in _NARROWS and isinstance(value, datetime):
                low, high = _NARROWS[operator](low, high, milliseconds(value))
    return low, high
