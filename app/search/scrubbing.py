"""Scrubbing: taking removed rows out of a segment's lists, in place.

Whoever reads meanwhile finds them or does not; they are not in the table any more either way.
"""

from itertools import compress

import numpy as np
from numpy.typing import NDArray

from app.search.blocks import Block


def scrub(block: Block, is_removed: NDArray[np.bool_]) -> Block | None:
    """The block without the removed rows, None when it has none of them."""
    lists = block.unpack(len(is_removed))
    kept, is_left = lists.without(is_removed)
    if len(kept.ordinals) == len(lists.ordinals):
        return None
    return Block.pack(list(compress(block.terms.to_list(), is_left)), kept, len(is_removed))
