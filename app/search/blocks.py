"""Blocks: the terms of a segment in their order, with their posting lists, a few kilobytes a stored document.

A directory of the first term of each block is all that has to be known to find any term with one read.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from app.search.postings import (
    Bits,
    Counts,
    Lists,
    Ordinals,
    decode,
    decode_one,
    encode,
    from_varints,
    members,
    sizes,
    varints,
)

BLOCK_BITS = 4096 * 8
"""A block is closed before its lists have more bits; a longer list has a block of its own."""
_FAR_LONGER = 50
"""A list so many times as long as what is sought in it is not read whole."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms in ascending order, joined, and one byte a term's length."""

    joined: bytes
    lengths: bytes

    @classmethod
    def of(cls, terms: Sequence[bytes]) -> "Terms":
        return cls(b"".join(terms), bytes(map(len, terms)))

    def __len__(self) -> int:
        return len(self.lengths)

    def to_list(self) -> list[bytes]:
        return [self.joined[end - length : end] for end, length in zip(self._ends(), self.lengths, strict=True)]

    def find(self, term: bytes) -> int | None:
        """The number of a term, None when it is not there."""
        ends = self._ends()
        number = bisect_left(range(len(ends)), term, key=lambda n: self.joined[ends[n] - self.lengths[n] : ends[n]])
        is_there = number < len(ends) and self.joined[ends[number] - self.lengths[number] : ends[number]] == term
        return number if is_there else None

    def _ends(self) -> list[int]:
        return list(accumulate(self.lengths))


@dataclass(frozen=True, slots=True)
class Block:
    """Some terms with their lists; `counts`: how many rows each one has, as varints."""

    terms: Terms
    counts: bytes
    bits: Bits

    @classmethod
    def pack(cls, terms: Sequence[bytes], lists: Lists, rows: int) -> "Block":
        """The block of a segment of so many rows."""
        return cls(Terms.of(terms), varints(lists.counts), encode(lists, rows))

    def unpack(self, rows: int) -> Lists:
        """All lists."""
        return decode(self.bits, from_varints(self.counts), rows)

    def look_up(self, term: bytes) -> "Entry | None":
        """A term's list, not read yet; None when it is not there."""
        number = self.terms.find(term)
        return None if number is None else Entry(self, from_varints(self.counts), number)

    def find(self, term: bytes, rows: int) -> Ordinals | None:
        """The rows of a term, None when it is not there."""
        entry = self.look_up(term)
        return None if entry is None else entry.rows(rows)


@dataclass(frozen=True, slots=True)
class Entry:
    """One list of a block: the counts of all of the block's, and its number."""

    block: Block
    counts: Counts
    number: int

    @property
    def count(self) -> int:
        return int(self.counts[self.number])

    def rows(self, rows: int) -> Ordinals:
        """The rows, of a segment of so many."""
        return decode_one(self.block.bits, self.counts, rows, self.number)

    def rows_among(self, some: Ordinals, rows: int) -> Ordinals:
        """Those of some rows."""
        if self.count > _FAR_LONGER * len(some):
            return some[members(self.block.bits, self.counts, rows, self.number, some)]
        is_listed = np.zeros(rows, np.bool_)
        is_listed[self.rows(rows)] = True
        return some[is_listed[some]]


@dataclass(frozen=True)
class Directory:
    """The first term of each block, and how many bits its lists have."""

    first_terms: list[bytes]
    sizes: list[int]

    def __len__(self) -> int:
        return len(self.first_terms)

    def block_of(self, term: bytes) -> int | None:
        """The number of the one block that may hold the term."""
        number = bisect_right(self.first_terms, term) - 1
        return None if number < 0 else number

    def bits_of(self, term: bytes) -> int:
        """How many bits the lists of the term's block have: of a long list, it alone."""
        number = self.block_of(term)
        return 0 if number is None else self.sizes[number]

    def bits_of_long(self, term: bytes) -> int | None:
        """How many bits a list has that is too long to share a block; None of others."""
        number = self.block_of(term)
        is_long = number is not None and self.sizes[number] > BLOCK_BITS and self.first_terms[number] == term
        return self.sizes[number] if number is not None and is_long else None


@dataclass
class BlockWriter:
    """Makes blocks of a segment of so many rows from terms that come in their order."""

    rows: int
    directory: Directory = field(default_factory=lambda: Directory([], []))

    def write(self, terms: Sequence[bytes], lists: Lists) -> Iterator[Block]:
        """The blocks of these terms. Many have to come at once: the last block of them may not be full."""
        bits = sizes(lists.counts, self.rows)
        ends = np.cumsum(bits)
        first = 0
        while first < len(terms):
            start = int(ends[first] - bits[first])
            last = max(first + 1, int(np.searchsorted(ends, start + BLOCK_BITS, "right")))
            self.directory.first_terms.append(terms[first])
            self.directory.sizes.append(int(ends[last - 1]) - start)
            yield Block.pack(terms[first:last], lists.part(first, last), self.rows)
            first = last
