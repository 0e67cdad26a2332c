"""Segments: immutable parts of the index, each of some of the rows.

A segment is known by its outline, which every process keeps in memory: where its rows lie in the list, and which block
holds which terms. Blocks and keys are read as they are needed.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from bson import ObjectId

from app.search.blocks import Directory, Terms
from app.search.keys import CHUNK, Key, Keys
from app.search.postings import count_of, from_varints, varints


@dataclass(frozen=True)
class Outline:
    """What is known of a segment without reading it.

    `first_keys`: the first key of each chunk; `last_key`: of the segment; `rows`: how many, removed ones included;
    `has_edges`: whether its terms tell where texts begin and end, which those of older versions do not.
    """

    id: ObjectId
    rows: int
    first_keys: Keys
    last_key: Key
    directory: Directory
    has_edges: bool

    @classmethod
    def of(cls, id: ObjectId, keys: Keys, directory: Directory, *, has_edges: bool) -> "Outline":
        firsts = Keys(keys.times[::CHUNK], keys.ids[::CHUNK])
        return cls(id, len(keys), firsts, keys[len(keys) - 1], directory, has_edges)

    @cached_property
    def _firsts(self) -> list[Key]:
        return [self.first_keys[number] for number in range(len(self.first_keys))]

    @property
    def first_key(self) -> Key:
        return self._firsts[0]

    def chunk_of(self, key: Key) -> int:
        """The number of the chunk that holds the key, if any does."""
        return max(0, bisect_right(self._firsts, key) - 1)

    def bounds(self, ordinal: int) -> tuple[Key, Key]:
        """Keys between which that of the row is."""
        chunk = ordinal // CHUNK
        last = self._firsts[chunk + 1] if chunk + 1 < len(self._firsts) else self.last_key
        return self._firsts[chunk], last

    def keys_from(self, key: Key, count: int) -> list[Key]:
        """The first keys of so many chunks from a key on."""
        first = bisect_left(self._firsts, key)
        return self._firsts[first : first + count]

    def keys_before(self, key: Key, count: int) -> list[Key]:
        """The first keys of the last chunks up to a key."""
        last = bisect_right(self._firsts, key)
        return self._firsts[max(0, last - count) : last]

    def share_of(self, term: bytes) -> float:
        """Which part of the rows has a term; 0 where that is so small that the outline does not tell."""
        size = self.directory.bits_of_long(term)
        return 0.0 if size is None else count_of(size, self.rows) / self.rows

    def to_row(self) -> dict[str, Any]:
        times, ids = self.first_keys.pack()
        names = Terms.of(self.directory.first_terms)
        return {
            "_id": self.id,
            "rows": self.rows,
            "first_times": times,
            "first_ids": ids,
            "last_time": self.last_key[0],
            "last_id": self.last_key[1],
            "terms": names.joined,
            "lengths": names.lengths,
            "sizes": varints(np.array(self.directory.sizes, np.int64)),
            "edges": self.has_edges,
        }

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Outline":
        return cls(
            row["_id"],
            row["rows"],
            Keys.unpack(row["first_times"], row["first_ids"]),
            (row["last_time"], bytes(row["last_id"])),
            Directory(Terms(row["terms"], row["lengths"]).to_list(), from_varints(row["sizes"]).tolist()),
            row.get("edges", False),
        )
