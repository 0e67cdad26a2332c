"""Segments without a database: rows of texts, and what a segment says about them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from bson import ObjectId
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.search.blocks import Block
from app.search.building import Draft, Drafting, Text
from app.search.keys import Key, Keys
from app.search.merging import Merge
from app.search.postings import Lists
from app.search.segments import Outline


def build(rows: Sequence[Text], at_once: int = 7) -> Draft:
    """The segment of these rows, of which so many are added at once."""
    ordered = sorted(rows, key=lambda row: row.key)
    drafting = Drafting()
    for first in range(0, len(ordered), at_once):
        drafting.add(ordered[first : first + at_once])
    return drafting.finish()


Found = dict[bytes, set[Key]]
"""The rows of each term."""

OWNERS = [ObjectId(bytes([1]) * 12), ObjectId(bytes([2]) * 12)]
GROUPS = [ObjectId(bytes([9]) * 11 + bytes([number])) for number in range(4)]


def lists_of(rows: Sequence[Sequence[int]]) -> Lists:
    counts = np.array([len(each) for each in rows], np.int64)
    return Lists(counts, np.array([row for each in rows for row in each], np.uint32))


def rows_of(lists: Lists) -> list[list[int]]:
    ends = np.cumsum(lists.counts)
    return [part.tolist() for part in np.split(lists.ordinals, ends[:-1])] if len(ends) else []


_FEW_TIMES = st.integers(0, 5)


def keys(times: st.SearchStrategy[int] = _FEW_TIMES) -> st.SearchStrategy[Key]:
    """Keys, many of them of one time."""
    ids = st.binary(min_size=12, max_size=12).filter(any)
    return st.tuples(times, ids)


@st.composite
def texts(draw: st.DrawFn, least: int = 1, most: int = 30) -> list[Text]:
    """Rows, none twice."""
    some = draw(st.lists(keys(), min_size=least, max_size=most, unique=True))
    words = st.text("abcé天气\0😀 ", max_size=8)
    return [Text(key, draw(st.sampled_from(OWNERS)), draw(st.sampled_from(GROUPS)), draw(words)) for key in some]


@dataclass(frozen=True)
class Stored:
    """What the database holds of a segment."""

    outline: Outline
    keys: Keys
    blocks: list[Block]

    @classmethod
    def of(cls, draft: Draft) -> "Stored":
        return cls(draft.outline, draft.keys, draft.blocks)

    @property
    def found(self) -> Found:
        """What a search would find, read block by block."""
        return {
            term: {self.keys[row] for row in rows}
            for block in self.blocks
            for term, rows in zip(block.terms.to_list(), rows_of(block.unpack(self.outline.rows)), strict=True)
        }


def found_in(rows: Sequence[Text]) -> Found:
    """What a segment of these rows has to say."""
    return Stored.of(build(rows)).found if rows else {}


def merged(parts: Sequence[Stored], at_once: int) -> Stored | None:
    """The segment of several, whose blocks are read so many at once; None when all rows were removed."""
    merge = Merge([(part.outline, part.keys) for part in parts])
    written: list[Block] = []
    while not merge.is_done:
        for source, part in zip(merge.sources, parts, strict=True):
            while source.has_more and not source.terms:
                source.add(part.blocks[source.blocks_read : source.blocks_read + at_once])
        written += merge.blocks()
    outline = merge.outline()
    return None if outline is None else Stored(outline, merge.keys, written)


def mask(count: int, numbers: Sequence[int]) -> NDArray[np.bool_]:
    chosen = np.zeros(count, np.bool_)
    chosen[list(numbers)] = True
    return chosen
