"""Merging: one segment of several, so that a search has few to look into."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from bson import ObjectId
from numpy.typing import NDArray

from app.search.blocks import Block, BlockWriter, Entry
from app.search.keys import Keys
from app.search.postings import Ordinals, Postings, decode, encode
from app.search.segments import Outline

_NOWHERE = np.uint32(2**32 - 1)


@dataclass
class Source:
    """One of the segments: which row of the new one each of its rows becomes, and the entries that are at hand."""

    outline: Outline
    places: NDArray[np.uint32]
    entries: deque[Entry] = field(default_factory=deque)
    blocks_read: int = 0

    @property
    def has_more(self) -> bool:
        """Whether there are entries that are not at hand."""
        return self.blocks_read < len(self.outline.directory.first_terms)

    def add(self, blocks: Sequence[Block]) -> None:
        """The next blocks."""
        for block in blocks:
            self.entries.extend(block)
        self.blocks_read += len(blocks)

    def move(self, postings: Postings) -> Ordinals:
        """The rows of the new segment."""
        places = self.places[decode(postings)]
        return places[places != _NOWHERE]


class Merge:
    """The segment to be, made piece by piece until it `is_done`: add blocks to the `sources` that have more but none at
    hand, and take what `blocks` answers.

    Rows that are in several of the segments become one, removed ones none.
    """

    def __init__(self, segments: Sequence[tuple[Outline, Keys]]) -> None:
        self.id = ObjectId()
        joined = Keys.joined([keys for _, keys in segments])
        order = joined.order()
        order = order[~joined.gone()[order]]
        times, ids = joined.times[order], joined.ids[order]
        is_new = np.ones(len(order), np.bool_)
        is_new[1:] = (times[1:] != times[:-1]) | (ids[1:] != ids[:-1]).any(axis=1)
        places = np.full(len(joined), _NOWHERE, np.uint32)
        places[order] = (np.cumsum(is_new) - 1).astype(np.uint32)
        self.keys = Keys(times[is_new], ids[is_new])
        self.sources: list[Source] = []
        start = 0
        for outline, keys in segments:
            self.sources.append(Source(outline, places[start : start + len(keys)]))
            start += len(keys)
        self.is_done = False
        self._writer = BlockWriter()

    def blocks(self) -> list[Block]:
        """What can be made of the entries at hand: those that no unread block comes before."""
        bounds = [source.entries[-1][0] for source in self.sources if source.has_more]
        made = list(self._writer.write(self._merged(min(bounds) if bounds else None)))
        if not bounds:
            made += self._writer.end()
            self.is_done = True
        return made

    def outline(self) -> Outline | None:
        """Of the new segment, when all blocks are made; None when all of its rows were removed."""
        return Outline.of(self.id, self.keys, self._writer.directory) if len(self.keys) else None

    def _merged(self, bound: bytes | None) -> Iterator[Entry]:
        gathered: dict[bytes, list[Ordinals]] = {}
        for source in self.sources:
            entries = source.entries
            while entries and (bound is None or entries[0][0] <= bound):
                term, postings = entries.popleft()
                gathered.setdefault(term, []).append(source.move(postings))
        for term in sorted(gathered):
            parts = gathered[term]
            # Of one segment they are in order already, since it keeps the order of its own rows.
            rows = parts[0] if len(parts) == 1 else np.unique(np.concatenate(parts))
            if len(rows):
                yield term, encode(rows, len(self.keys))
