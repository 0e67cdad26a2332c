"""Blocks: the terms of a segment in their order, with their posting lists, a few kilobytes a stored document.

A directory of the first term of each block is all that has to be known to find any term with one read.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from app.search.postings import Postings, from_varints, varints

BLOCK_BYTES = 4096
"""A block is closed when its lists have so many bytes; a longer list has a block of its own."""

Entry = tuple[bytes, Postings]
"""A term and its list."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some entries, packed.

    Terms joined, and one byte a term's length; lists joined, and twice the size of each, plus 1 for a bitmap, as varints.
    """

    terms: bytes
    lengths: bytes
    sizes: bytes
    lists: bytes

    @classmethod
    def pack(cls, entries: Sequence[Entry]) -> "Block":
        sizes = np.array([2 * len(postings.data) + postings.is_bitmap for _, postings in entries], np.int64)
        return cls(
            b"".join(term for term, _ in entries),
            bytes(len(term) for term, _ in entries),
            varints(sizes),
            b"".join(postings.data for _, postings in entries),
        )

    def find(self, term: bytes) -> Postings | None:
        """The list of a term, None when it is not there."""
        ends = list(accumulate(self.lengths))
        at = bisect_left(range(len(ends)), term, key=lambda n: self.terms[ends[n] - self.lengths[n] : ends[n]])
        if at == len(ends) or self.terms[ends[at] - self.lengths[at] : ends[at]] != term:
            return None
        sizes = from_varints(self.sizes)
        start = int((sizes[:at] >> 1).sum())
        size = int(sizes[at])
        return Postings(self.lists[start : start + (size >> 1)], is_bitmap=bool(size & 1))

    def __iter__(self) -> Iterator[Entry]:
        at = start = 0
        for length, size in zip(self.lengths, from_varints(self.sizes).tolist(), strict=True):
            stop = start + (size >> 1)
            yield self.terms[at : at + length], Postings(self.lists[start:stop], is_bitmap=bool(size & 1))
            at, start = at + length, stop


@dataclass(frozen=True)
class Directory:
    """The first term of each block, and how many bytes its lists have."""

    first_terms: list[bytes]
    sizes: list[int]

    def block_of(self, term: bytes) -> int | None:
        """The number of the one block that may hold the term."""
        number = bisect_right(self.first_terms, term) - 1
        return None if number < 0 else number


@dataclass
class BlockWriter:
    """Makes blocks of entries that come in the order of their terms."""

    directory: Directory = field(default_factory=lambda: Directory([], []))
    _entries: list[Entry] = field(default_factory=list)
    _bytes: int = 0

    def write(self, entries: Iterable[Entry]) -> Iterator[Block]:
        """Add entries; answers the blocks that are full."""
        for entry in entries:
            size = len(entry[1].data)
            if self._entries and self._bytes + size > BLOCK_BYTES:
                yield self._close()
            self._entries.append(entry)
            self._bytes += size

    def end(self) -> Iterator[Block]:
        """The last block, if there is one."""
        if self._entries:
            yield self._close()

    def _close(self) -> Block:
        block = Block.pack(self._entries)
        self.directory.first_terms.append(self._entries[0][0])
        self.directory.sizes.append(self._bytes)
        self._entries, self._bytes = [], 0
        return block
