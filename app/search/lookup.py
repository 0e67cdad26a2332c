"""Looking up: the keys of the rows that may be found, in the order of the list, as many as are asked for.

What a row must have is read from the segments' lists, the rarest terms first; of what is left, keys are read piece by
piece from those segments that are next in the order.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from bson import ObjectId
from cachetools import LRUCache

from app.kit.threads import in_thread
from app.search.blocks import Block
from app.search.keys import CHUNK, REMOVED, Chunk, Key
from app.search.plans import NO_ROWS, Plan, Sought
from app.search.postings import Ordinals
from app.search.segments import Outline
from app.search.spans import Span
from app.search.store import IndexStore, PartsGone, Piece, Place

_FIRST_SEGMENTS = 4
"""So many are asked first: the newest rows are in small segments, and often enough."""
_FEW_ROWS = 256
"""So many keys are read at once wherever they are."""
_FEWEST_KEYS = 64
_ROWS_OF_A_PAGE = 1000
"""As many rows are read as fast as is looked up where a few are."""
_SPARE_CHUNKS = 4
"""What is found comes in clusters. A page that is full sooner is read no further."""
_KEPT_CHUNKS = 10_000
"""So many chunks of keys stay in memory: of over a million rows, in less than 30 MB. What is replaced or removed
meanwhile does no harm there: the database is asked for every row."""
_MUCH = 256 * 1024
"""Bytes of lists that are better read in a thread."""


@dataclass
class Demand:
    """How many keys are wanted at once; whoever reads them may change it between two batches."""

    keys: int


class Lookup:
    """Reads one index; keeps the outlines of its segments in memory, and the keys that were read last."""

    def __init__(self, store: IndexStore) -> None:
        self._store = store
        self._outlines: dict[ObjectId, Outline] = {}
        self._chunks: LRUCache[Place, Chunk] = LRUCache(_KEPT_CHUNKS)

    async def warm(self) -> None:
        """Read the outlines that are not known yet, so that the next search need not."""
        await self._segments()

    def tells(self, sought: Sought) -> bool:
        """Whether all segments tell which of their rows may be found. Only what is in memory is asked: to be out of
        date costs nothing but time."""
        return all(map(sought.needs_of, self._outlines.values()))

    def edge(self, sought: Sought, span: Span, count: float) -> Key | None:
        """A place before which about `count` rows are found, when that is so near that reading all rows up to there
        costs less than to look them up. Only what is in memory is asked here too."""
        outlines = [outline for outline in self._outlines.values() if span.overlaps(outline)]
        largest = max(outlines, key=lambda outline: outline.rows, default=None)
        if largest is None or (share := sought.share(largest)) * _ROWS_OF_A_PAGE < count:
            return None
        of_all = min(map(largest.share_of, sought.always), default=1.0)  # of the rows that are read, how many there are
        if of_all == 0:
            return None
        chunks = int(count / share / of_all / CHUNK) + _SPARE_CHUNKS
        keys = sorted(
            (key for outline in outlines for key in span.first_keys(outline, chunks)), reverse=span.is_descending
        )
        return keys[:chunks][-1] if keys else None

    async def keys(self, sought: Sought, span: Span, demand: Demand) -> AsyncGenerator[list[Key], None]:
        """Keys of candidates in order, none twice, about as many at once as are in demand. Raises PartsGone."""
        streams = [_Stream(outline, span) for outline in await self._segments() if span.overlaps(outline)]
        last: Key | None = None
        is_first = True
        while streams:
            ready = _ready(streams, span)
            missing = demand.keys - len(ready)
            if missing > 0 and (unread := [stream for stream in streams if stream.has_more]):
                await self._read_on(sought, _in_order(unread, span), missing, is_first=is_first)
                is_first = False
            else:
                given = set(ready)
                for stream in streams:
                    stream.keys = [key for key in stream.keys if key not in given]
                keys = [key for key in dict.fromkeys(ready) if last is None or span.comes_before(last, key)]
                if keys:
                    yield keys
                    last = keys[-1]
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

    async def _read_on(self, sought: Sought, streams: Sequence["_Stream"], missing: int, *, is_first: bool) -> None:
        """Read more of these; the first one holds up the others."""
        unknown = [stream for stream in streams if not stream.is_searched]
        if unknown[:1] == streams[:1]:
            await self._find_rows(sought, unknown[:_FIRST_SEGMENTS] if is_first else unknown)
            return
        await self._read_keys(_enough(streams, max(missing, _FEW_ROWS)), max(missing, _FEWEST_KEYS))

    async def _find_rows(self, sought: Sought, streams: Sequence["_Stream"]) -> None:
        """Find the rows of segments that may be found."""
        plans = [(stream, sought.plan(stream.outline)) for stream in streams]
        places = {place for _, plan in plans for place in plan.places}
        blocks = await self._read(self._store.blocks, places)
        work = partial(_found_rows, plans, blocks)
        found = await in_thread(work) if sum(len(each.bits.highs) for each in blocks.values()) > _MUCH else work()
        for (stream, _), rows in zip(plans, found, strict=True):
            stream.begin(rows)

    async def _read_keys(self, streams: Sequence["_Stream"], most: int) -> None:
        wanted = [(stream, *_chunks_of(stream.outline, stream.take_rows(most))) for stream in streams]
        chunks = await self._chunks_at({place for _, places, _, _ in wanted for place in places})
        for stream, places, numbers, within in wanted:
            some = [chunks[place] for place in places]
            stream.add([some[number].key(row) for number, row in zip(numbers, within, strict=True)])

    async def _chunks_at(self, places: set[Place]) -> dict[Place, Chunk]:
        """Those that are not in memory are read, and stay there. Raises PartsGone."""
        known = {place: chunk for place in places if (chunk := self._chunks.get(place)) is not None}
        if missing := places - known.keys():
            read = await self._read(self._store.chunks, missing)
            self._chunks.update(read)
            known |= read
        return known

    @staticmethod
    async def _read(
        read: Callable[[Iterable[Place]], Awaitable[dict[Place, Piece]]], places: set[Place]
    ) -> dict[Place, Piece]:
        pieces = await read(places)
        if len(pieces) < len(places):
            raise PartsGone
        return pieces


def _chunks_of(outline: Outline, rows: Ordinals) -> tuple[list[Place], list[int], list[int]]:
    """The chunks that hold the keys of rows; of each row, which of these it is, and its number there."""
    numbers, which = np.unique(rows // CHUNK, return_inverse=True)
    return [Place(outline.id, number) for number in numbers.tolist()], which.tolist(), (rows % CHUNK).tolist()


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
        self.rows = NO_ROWS
        """The rows whose keys are to be read."""
        self.is_searched = False
        """Whether it is known which rows these are."""
        self._span = span

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

    def take_rows(self, most: int) -> Ordinals:
        """The rows whose keys are to be read now."""
        some, self.rows = self.rows[:most], self.rows[most:]
        return some

    def add(self, keys: Sequence[Key]) -> None:
        """Without those of rows that were removed meanwhile, which are not in their order any more."""
        self.keys += [key for key in keys if key[1] != REMOVED and self._span.holds(key)]


def _in_order(streams: Iterable[_Stream], span: Span) -> list[_Stream]:
    """Those first that may have what comes first."""
    return sorted(streams, key=lambda stream: stream.edge, reverse=span.is_descending)


def _enough(streams: Sequence[_Stream], rows: int) -> list[_Stream]:
    """The first ones that have so many rows together, as far as it is known which rows they have."""
    chosen: list[_Stream] = []
    for stream in streams:
        if not stream.is_searched or sum(len(each.rows) for each in chosen) >= rows:
            break
        chosen.append(stream)
    return chosen


def _found_rows(plans: Iterable[tuple[_Stream, Plan]], blocks: Mapping[Place, Block]) -> list[Ordinals]:
    return [plan.rows(blocks) for _, plan in plans]
