"""Scrubbing: taking removed rows out of a segment, in place.

Whoever reads meanwhile finds them or does not; they are not in the table any more either way.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import compress

import numpy as np
from bson import ObjectId
from numpy.typing import NDArray

from app.kit.threads import in_thread
from app.search.blocks import Block
from app.search.keys import CHUNK, Keys
from app.search.segments import Outline
from app.search.store import IndexStore, PartsGone, Place

_BLOCKS_AT_ONCE = 64


class Scrubber:
    """Takes rows out of stored segments. `confirm` raises where another process builds now: what was read may have
    changed since."""

    def __init__(self, store: IndexStore, confirm: Callable[[], Awaitable[object]]) -> None:
        self._store = store
        self._confirm = confirm

    async def take_out(self, outline: Outline, terms: Sequence[bytes]) -> None:
        """Take the rows that have these terms out of a segment. Raises PartsGone.

        The blocks of the terms are changed last, so that a repetition finds the rows again.
        """
        numbers = {term: number for term in terms if (number := outline.directory.block_of(term)) is not None}
        named = {Place(outline.id, number) for number in numbers.values()}
        blocks = await self._store.blocks(named)
        if len(blocks) < len(named):
            raise PartsGone
        is_removed = np.zeros(outline.rows, np.bool_)
        for term, number in numbers.items():
            if (rows := blocks[Place(outline.id, number)].find(term, outline.rows)) is not None:
                is_removed[rows] = True
        if not is_removed.any():
            return
        await self._store.note_scrubbing(outline.id)
        for first in range(0, len(outline.directory), _BLOCKS_AT_ONCE):
            some = await self._store.blocks_in_order(outline, first, _BLOCKS_AT_ONCE)
            changed = await in_thread(partial(_scrubbed, outline.id, first, some, is_removed))
            await self._rewrite({at: block for at, block in changed.items() if at not in named}, {})
        await self._rewrite({}, await self._gone(outline, is_removed))
        last = {at: scrub(block, is_removed) for at, block in blocks.items()}
        await self._rewrite({at: block for at, block in last.items() if block is not None}, {})

    async def _gone(self, outline: Outline, is_removed: NDArray[np.bool_]) -> dict[Place, Keys]:
        """The chunks of keys that change, without the removed rows."""
        numbers = sorted({ordinal // CHUNK for ordinal in np.flatnonzero(is_removed).tolist()})
        chunks = await self._store.chunks(Place(outline.id, number) for number in numbers)
        unpacked = {at: chunk.unpack() for at, chunk in chunks.items()}
        return {at: keys.without(is_removed[at.number * CHUNK :][: len(keys)]) for at, keys in unpacked.items()}

    async def _rewrite(self, blocks: Mapping[Place, Block], keys: Mapping[Place, Keys]) -> None:
        await self._confirm()
        await self._store.rewrite(blocks, keys)


def _scrubbed(id: ObjectId, first: int, blocks: Sequence[Block], is_removed: NDArray[np.bool_]) -> dict[Place, Block]:
    """The blocks that change, without the removed rows."""
    cleaned = {Place(id, first + at): scrub(block, is_removed) for at, block in enumerate(blocks)}
    return {at: block for at, block in cleaned.items() if block is not None}


def scrub(block: Block, is_removed: NDArray[np.bool_]) -> Block | None:
    """The block without the removed rows, None when it has none of them."""
    lists = block.unpack(len(is_removed))
    kept, is_left = lists.without(is_removed)
    if len(kept.ordinals) == len(lists.ordinals):
        return None
    return Block.pack(list(compress(block.terms.to_list(), is_left)), kept, len(is_removed))
