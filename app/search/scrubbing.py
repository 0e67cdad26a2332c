"""Scrubbing: taking removed rows out of a segment's lists, in place.

Whoever reads meanwhile finds them or does not; they are not in the table any more either way.
"""

import numpy as np
from numpy.typing import NDArray

from app.search.blocks import Block, Entry
from app.search.postings import decode, encode


def scrub(block: Block, is_removed: NDArray[np.bool_]) -> Block | None:
    """The block without the removed rows, None when it has none of them."""
    entries: list[Entry] = []
    has_changed = False
    for term, postings in block:
        rows = decode(postings)
        kept = rows[~is_removed[rows]]
        if len(kept) == len(rows):
            entries.append((term, postings))
            continue
        has_changed = True
        if len(kept):
            entries.append((term, encode(kept, len(is_removed))))
    return Block.pack(entries) if has_changed else None
