"""Merging: one segment of several, so that a search has few to look into."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from bson import ObjectId
from numpy.typing import NDArray

from app.search.blocks import Block, BlockWriter
from app.search.keys import Keys
from app.search.postings import Lists
from app.search.segments import Outline

_NOWHERE = 2**32 - 1


@dataclass
class Source:
    """One of the segments: which row of the new one each of its rows becomes, and its terms at hand, with lists."""

    outline: Outline
    places: NDArray[np.uint32]
    blocks_read: int = 0
    terms: list[bytes] = field(default_factory=list)
    lists: Lists = field(default_factory=lambda: Lists(np.zeros(0, np.int64), np.zeros(0, np.uint32)))

    @property
    def has_more(self) -> bool:
        """Whether there are terms that are not at hand."""
        return self.blocks_read < len(self.outline.directory)

    def add(self, blocks: Sequence[Block]) -> None:
        """The next blocks."""
        self.blocks_read += len(blocks)
        parts = [self.lists, *(block.unpack(self.outline.rows) for block in blocks)]
        self.terms = self.terms + [term for block in blocks for term in block.terms.to_list()]
        self.lists = Lists(
            np.concatenate([part.counts for part in parts]), np.concatenate([part.ordinals for part in parts])
        )

    def take(self, bound: bytes | None) -> tuple[list[bytes], Lists]:
        """The terms up to a bound, or all, with the lists as they are in the new segment."""
        number = len(self.terms) if bound is None else bisect_right(self.terms, bound)
        terms, taken = self.terms[:number], self.lists.part(0, number)
        self.lists, self.terms = self.lists.part(number, len(self.terms)), self.terms[number:]
        return terms, Lists(taken.counts, self.places[taken.ordinals])


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
        self._writer = BlockWriter(len(self.keys))

    def blocks(self) -> list[Block]:
        """What can be made of the terms at hand: of those that no unread block has too."""
        bounds = [source.terms[-1] for source in self.sources if source.has_more]
        self.is_done = not bounds
        taken = [source.take(min(bounds) if bounds else None) for source in self.sources]
        terms = sorted({term for names, _ in taken for term in names})
        return list(self._writer.write(*self._merged(terms, taken))) if len(self.keys) else []

    def outline(self) -> Outline | None:
        """Of the new segment, when all blocks are made; None when all of its rows were removed."""
        has_edges = all(source.outline.has_edges for source in self.sources)
        return Outline.of(self.id, self.keys, self._writer.directory, has_edges=has_edges) if len(self.keys) else None

    @staticmethod
    def _merged(terms: list[bytes], taken: Sequence[tuple[list[bytes], Lists]]) -> tuple[list[bytes], Lists]:
        numbers = {term: number for number, term in enumerate(terms)}
        owners = [
            np.repeat(np.array([numbers[name] for name in names], np.int64), lists.counts) for names, lists in taken
        ]
        # One number an ordinal, which sorts by term and then by row.
        pairs = np.concatenate(owners) << 32 | np.concatenate([lists.ordinals for _, lists in taken])
        pairs = pairs[pairs & _NOWHERE != _NOWHERE]
        pairs.sort(kind="stable")  # the fastest for what consists of sorted parts
        is_new = np.ones(len(pairs), np.bool_)
        is_new[1:] = pairs[1:] != pairs[:-1]
        pairs = pairs[is_new]
        counts = np.bincount(pairs >> 32, minlength=len(terms))
        kept = [term for term, count in zip(terms, counts.tolist(), strict=True) if count]
        return kept, Lists(counts[counts > 0], (pairs & _NOWHERE).astype(np.uint32))
