"""Looking up: the keys of the rows that may be found, in the order of the list, as many as are asked for.

What a row must have is read from the segments' lists, the rarest terms first; of what is left, keys are read piece by
piece from those segments that are next in the order.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from bson import ObjectId
from numpy.typing import NDArray

from app.kit.literals import Need
from app.kit.threads import in_thread
from app.search.blocks import BLOCK_BITS, Block, Entry
from app.search.keys import CHUNK, ID_BYTES, REMOVED, Key
from app.search.postings import Ordinals
from app.search.segments import Outline
from app.search.store import IndexStore, PartsGone, Piece, Place
from app.search.terms import LONG, group_term, owner_term, terms_of_literal

_NEEDS = 3
"""At most so many needs are looked up; what else is needed is seen in the rows."""
_TERMS = 6
"""Of each literal at most so many terms, so many places apart."""
_APART = 2
_FIRST_SEGMENTS = 4
"""So many are asked first: the newest rows are in small segments, and often enough."""
_FIRST_KEYS = 64
_MOST_KEYS = 1024
_FEW_ROWS = 256
"""So many keys are read at once wherever they are."""
_WORTH_READING = 2000
"""A list with more than so many times the rows that are left is not worth reading."""
_NO_ROWS: Ordinals = np.zeros(0, np.uint32)
_MUCH = 256 * 1024
"""Bytes of lists that are better read in a thread."""

Literals = tuple[tuple[bytes, ...], ...]
"""Alternatives, each as its terms."""


@dataclass(frozen=True)
class Sought:
    """What a row must have: of each need all terms of one literal, and the owner's and the group's term if any."""

    needs: tuple[Literals, ...]
    always: tuple[bytes, ...]

    @classmethod
    def of(cls, needs: Sequence[Need], *, owner: ObjectId | None, group: ObjectId | None) -> "Sought | None":
        """None when the index cannot tell: a literal of each need may be too short to have a term."""
        found = [tuple(tuple(terms_of_literal(literal)) for literal in need) for need in needs]
        usable = [literals for literals in found if all(literals)]
        always = [] if owner is None else [owner_term(owner)]
        if group is not None:
            always.append(group_term(group))
        return cls(tuple(usable[:_NEEDS]), tuple(always)) if usable else None

    def plan(self, outline: Outline) -> "Plan":
        """What to read of a segment."""
        needs = [[_chosen(outline, terms) for terms in literals] for literals in self.needs]
        return Plan(outline, needs, self.always)


def _chosen(outline: Outline, terms: Sequence[bytes]) -> list[bytes]:
    """Of a literal's terms those to look up: the ones that fewest rows have, as far as the outline tells, and apart,
    because what overlaps comes together."""

    def bits(place: int) -> tuple[int, int]:
        number = outline.directory.block_of(terms[place])
        size = 0 if number is None else outline.directory.sizes[number]
        return max(size, BLOCK_BITS), -len(terms[place])  # of those that share a block the longer ones are rarer

    chosen: list[int] = []
    for place in sorted(range(len(terms)), key=bits):
        if len(chosen) < _TERMS and all(abs(place - other) >= _APART for other in chosen):
            chosen.append(place)
    return [terms[place] for place in chosen]


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

    def in_order(self, streams: Iterable["_Stream"]) -> list["_Stream"]:
        """Those first that may have what comes first."""
        return sorted(streams, key=lambda stream: stream.edge, reverse=self.is_descending)


LOWEST: Key = (-(2**63), bytes(ID_BYTES))
HIGHEST: Key = (2**63 - 1, b"\xff" * ID_BYTES)


class Lookup:
    """Reads one index; keeps the outlines of its segments in memory."""

    def __init__(self, store: IndexStore) -> None:
        self._store = store
        self._outlines: dict[ObjectId, Outline] = {}

    async def keys(self, sought: Sought, span: Span) -> AsyncGenerator[list[Key], None]:
        """Keys of candidates in order, none twice, in growing batches. Raises PartsGone."""
        streams = [_Stream(outline, span) for outline in await self._segments() if span.overlaps(outline)]
        last: Key | None = None
        wanted, is_first = _FIRST_KEYS, True
        while streams:
            ready = _ready(streams, span)
            if len(ready) < wanted and (unread := [stream for stream in streams if stream.has_more]):
                await self._read_on(sought, span.in_order(unread), is_first=is_first)
                is_first = False
                streams = [stream for stream in streams if not stream.is_done]
                continue
            given = set(ready)
            for stream in streams:
                stream.keys = [key for key in stream.keys if key not in given]
            keys = [key for key in dict.fromkeys(ready) if last is None or span.comes_before(last, key)]
            if keys:
                yield keys
                last = keys[-1]
            wanted = min(2 * wanted, _MOST_KEYS)
            streams = [stream for stream in streams if not stream.is_done]

    async def _segments(self) -> list[Outline]:
        ids = await self._store.segment_ids()
        unknown = [id for id in ids if id not in self._outlines]
        if unknown:
            self._outlines |= {outline.id: outline for outline in await self._store.outlines(unknown)}
            if not set(ids) <= self._outlines.keys():
                raise PartsGone
        for id in self._outlines.keys() - set(ids):
            del self._outlines[id]
        return [self._outlines[id] for id in ids]

    async def _read_on(self, sought: Sought, streams: Sequence["_Stream"], *, is_first: bool) -> None:
        """Read more of these; the first one holds up the others."""
        unknown = [stream for stream in streams if not stream.is_searched]
        if unknown[:1] == streams[:1]:
            await self._find_rows(sought, unknown[:_FIRST_SEGMENTS] if is_first else unknown)
            return
        is_little_left = not unknown and sum(len(stream.rows) for stream in streams) <= _FEW_ROWS
        await self._read_keys(streams if is_little_left else streams[:1])

    async def _find_rows(self, sought: Sought, streams: Sequence["_Stream"]) -> None:
        """Find the rows of segments that may be found."""
        plans = [(stream, sought.plan(stream.outline)) for stream in streams]
        places = {place for _, plan in plans for place in plan.places}
        blocks = await self._read(self._store.blocks, places)
        work = partial(_found_rows, plans, blocks)
        found = await in_thread(work) if sum(len(each.bits.highs) for each in blocks.values()) > _MUCH else work()
        for (stream, _), rows in zip(plans, found, strict=True):
            stream.begin(rows)

    async def _read_keys(self, streams: Sequence["_Stream"]) -> None:
        rows = [(stream, stream.next_rows()) for stream in streams]
        places = {Place(stream.outline.id, int(number)) for stream, some in rows for number in np.unique(some // CHUNK)}
        chunks = await self._read(self._store.chunks, places)
        for stream, some in rows:
            stream.add([chunks[Place(stream.outline.id, row // CHUNK)][row % CHUNK] for row in some.tolist()])

    @staticmethod
    async def _read(
        read: Callable[[Iterable[Place]], Awaitable[dict[Place, Piece]]], places: set[Place]
    ) -> dict[Place, Piece]:
        pieces = await read(places)
        if len(pieces) < len(places):
            raise PartsGone
        return pieces


def _ready(streams: Sequence["_Stream"], span: Span) -> list[Key]:
    """The keys at hand, in order, before which no other one can come."""
    keys = [key for stream in streams for key in stream.keys]
    if edges := [stream.edge for stream in streams if stream.has_more]:
        edge = max(edges) if span.is_descending else min(edges)
        keys = [key for key in keys if not span.comes_before(edge, key)]
    return sorted(keys, reverse=span.is_descending)


class _Stream:
    """What a segment adds to the keys, in their order."""

    def __init__(self, outline: Outline, span: Span) -> None:
        self.outline = outline
        self.keys: list[Key] = []
        """Those at hand."""
        self.rows = _NO_ROWS
        """The rows whose keys are to be read."""
        self.is_searched = False
        """Whether it is known which rows these are."""
        self._span = span
        self._size = _FIRST_KEYS

    @property
    def has_more(self) -> bool:
        """Whether there may be keys that are not at hand."""
        return not self.is_searched or len(self.rows) > 0

    @property
    def is_done(self) -> bool:
        return not self.has_more and not self.keys

    @property
    def edge(self) -> Key:
        """No key that is not at hand comes before this one."""
        descending = self._span.is_descending
        if self.keys:
            return self.keys[-1]
        if not self.is_searched:
            edge = self.outline.last_key if descending else self.outline.first_key
        else:
            edge = self.outline.bounds(int(self.rows[0]))[descending]
        return min(edge, self._span.last) if descending else max(edge, self._span.first)

    def begin(self, rows: Ordinals) -> None:
        """These are found in the segment, in the order of rows."""
        first = self.outline.chunk_of(self._span.first) * CHUNK
        last = (self.outline.chunk_of(self._span.last) + 1) * CHUNK
        rows = rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)]
        self.rows = rows[::-1] if self._span.is_descending else rows
        self.is_searched = True

    def next_rows(self) -> Ordinals:
        """Take the rows whose keys are to be read now."""
        some, self.rows = self.rows[: self._size], self.rows[self._size :]
        self._size = min(4 * self._size, _MOST_KEYS)
        return some

    def add(self, keys: Sequence[Key]) -> None:
        """Without those of rows that were removed meanwhile, which are not in their order any more."""
        self.keys += [key for key in keys if key[1] != REMOVED and self._span.holds(key)]


@dataclass(frozen=True)
class Plan:
    """Where to read in a segment what is sought."""

    outline: Outline
    needs: Sequence[Sequence[Sequence[bytes]]]
    always: Sequence[bytes]

    @property
    def places(self) -> set[Place]:
        terms = [*self.always, LONG, *(term for literals in self.needs for terms in literals for term in terms)]
        numbers = {self.outline.directory.block_of(term) for term in terms}
        return {Place(self.outline.id, number) for number in numbers if number is not None}

    def rows(self, blocks: Mapping[Place, Block]) -> Ordinals:
        """The rows that have what is sought, or are too long to tell."""
        mask = np.ones(self.outline.rows, np.bool_)
        for literals in self.needs:
            mask &= self._mask_of_any(blocks, literals)
        mask[self._rows_of_all(blocks, [LONG])] = True
        for term in self.always:
            mask &= self._mask_of_any(blocks, [[term]])
        return np.flatnonzero(mask).astype(np.uint32)

    def _mask_of_any(self, blocks: Mapping[Place, Block], literals: Sequence[Sequence[bytes]]) -> NDArray[np.bool_]:
        mask = np.zeros(self.outline.rows, np.bool_)
        for terms in literals:
            mask[self._rows_of_all(blocks, terms)] = True
        return mask

    def _rows_of_all(self, blocks: Mapping[Place, Block], terms: Sequence[bytes]) -> Ordinals:
        entries = [entry for term in terms if (entry := self._entry(blocks, term)) is not None]
        if len(entries) < len(terms):
            return _NO_ROWS
        first, *others = sorted(entries, key=lambda entry: entry.count)
        rows = first.rows(self.outline.rows)
        for other in others:
            if len(rows) * _WORTH_READING < other.count:
                break  # to look at the rows costs less than to read the lists
            mask = np.zeros(self.outline.rows, np.bool_)
            mask[other.rows(self.outline.rows)] = True
            rows = rows[mask[rows]]
        return rows

    def _entry(self, blocks: Mapping[Place, Block], term: bytes) -> Entry | None:
        number = self.outline.directory.block_of(term)
        return None if number is None else blocks[Place(self.outline.id, number)].look_up(term)


def _found_rows(plans: Iterable[tuple[_Stream, Plan]], blocks: Mapping[Place, Block]) -> list[Ordinals]:
    return [plan.rows(blocks) for _, plan in plans]
