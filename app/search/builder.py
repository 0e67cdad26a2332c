"""The builder: one process at a time indexes what is in no segment, merges segments, and takes out what was removed.

Its work is cut into steps that can be repeated: whatever a process leaves half done is no part of the index, and the
next one does it again. Rows are marked when a segment that has them is part of the index; until then, searches read
the rows themselves.
"""

import math
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from bson import ObjectId

from app.kit.repository import Row
from app.kit.threads import in_thread
from app.search.building import Draft
from app.search.gathering import Gathered, Gathering
from app.search.keys import key_of
from app.search.merging import Merge
from app.search.register import LeaseLost
from app.search.scrubbing import Scrubber
from app.search.store import IndexStore, PartsGone
from app.search.table import Table
from app.search.terms import group_term

GRACE = timedelta(seconds=20)
"""So long a segment that was replaced can still be read, by searches that began before: they take less."""
STALE = timedelta(days=1)
"""So long an outline may show terms and ids of rows that were removed; then the segment is written anew."""
_BLOCKS_AT_ONCE = 64
_MARKS_AT_ONCE = 10_000

_Work = tuple[Gathering, Callable[[Gathered | None], Awaitable[None]]]
"""Rows that are being gathered, and what is done with their segment."""


@dataclass(frozen=True)
class Sizes:
    """How large segments are, in rows.

    `least`: so many rows without a mark are worth a segment; fewer are read soon enough. `most`: so many at most become
    one. `fanout`: so many segments of about the same size are merged into one, of up to `largest` rows.
    """

    least: int = 1000
    most: int = 250_000
    fanout: int = 8
    largest: int = 2_000_000

    def to_be_merged(self, rows: Mapping[ObjectId, int]) -> list[ObjectId]:
        """Which segments to merge, of those that have so many rows each; the smallest ones first."""
        tiers: dict[int, list[ObjectId]] = {}
        for id in sorted(rows, key=lambda id: rows[id]):
            if rows[id] * self.fanout <= self.largest:
                tiers.setdefault(int(math.log(max(1, rows[id] / self.least), self.fanout)), []).append(id)
        return next((ids[: self.fanout] for _, ids in sorted(tiers.items()) if len(ids) >= self.fanout), [])


class IndexBuilder:
    """Builds one index. `scrub_seconds`: how long removed rows are gathered before they are taken out together."""

    def __init__(self, store: IndexStore, table: Table, sizes: Sizes, *, scrub_seconds: float) -> None:
        self._store = store
        self._table = table
        self._sizes = sizes
        self._scrub_seconds = scrub_seconds
        self._scrub_at = 0.0
        self._name = secrets.token_hex(8)
        self._scrubber = Scrubber(store, lambda: store.renew(self._name))
        self._writing: ObjectId | None = None
        self._work: _Work | None = None
        self._is_prepared = False
        self.is_holder = False
        """Whether this one builds, as far as it knows."""

    async def round(self, *, least: int | None = None) -> int | None:
        """One step of whatever there is to do; answers how many rows it dealt with, 0 when there is nothing.

        `least`: so many rows are worth a segment this time.

        None while another process builds. Raises LeaseLost when one has taken over meanwhile.
        """
        try:
            try:
                return await self._step(least or self._sizes.least)
            except PartsGone:
                await self._store.renew(self._name)  # another one that builds has replaced the segment
                raise
        except BaseException as error:
            self._work = None  # it may be half done
            if isinstance(error, LeaseLost):
                await self._give_up()
            raise

    @property
    def at_hand(self) -> int:
        """How many rows are gathered for a segment that is not written yet."""
        return 0 if self._work is None else len(self._work[0])

    async def release(self) -> None:
        """Let another process build."""
        self._work = None
        await self._store.release(self._name)
        self.is_holder = self._is_prepared = False

    async def _step(self, least: int) -> int | None:
        if self._work is not None:
            await self._store.renew(self._name)  # else what was read may be of rows that another one has taken out
            return await self._gather_on(*self._work)
        if not await self._store.acquire(self._name):
            self.is_holder = self._is_prepared = False
            return None
        self.is_holder = True
        if not self._is_prepared:
            await self._store.prepare()
            await self._drop_strays()
            self._is_prepared = True
        index = await self._store.index()
        await self._drop_retired(index)
        if rows := await self._add(least):
            return rows
        if time.monotonic() >= self._scrub_at:
            self._scrub_at = time.monotonic() + self._scrub_seconds
            if rows := await self._scrub(index):
                return rows
        return await (self._rebuild(index["rebuild"]) if "rebuild" in index else self._merge(index))

    async def _give_up(self) -> None:
        """Another process builds, and has removed what it knew of the segment that was being written here."""
        self.is_holder = self._is_prepared = False
        if self._writing is not None:
            await self._store.drop(self._writing)
            self._writing = None

    async def _begin(self, id: ObjectId) -> None:
        await self._store.begin(id)
        self._writing = id

    async def _add(self, least: int) -> int:
        """Begin a segment of rows that are in none."""
        if await self._table.count_unmarked(least) < least:
            return 0
        return await self._gather_on(Gathering(self._table, self._table.unmarked, None, self._sizes.most), self._added)

    async def _added(self, gathered: Gathered | None) -> None:
        if gathered is None:
            return
        keys = gathered.draft.keys
        await self._store.replace(self._name, [], [await self._write(gathered.draft)])
        self._writing = None
        await self._table.mark(keys.part(0, _MARKS_AT_ONCE))
        for first in range(_MARKS_AT_ONCE, len(keys), _MARKS_AT_ONCE):
            await self._store.renew(self._name)
            await self._table.mark(keys.part(first, first + _MARKS_AT_ONCE))

    async def _rebuild(self, rebuild: Row) -> int:
        """Begin a segment of the next rows of the table; behind the last ones, the new segments take the place of the
        old.

        The last ones are those of that moment: rows that come later are in no old segment. All rows are read, not only
        those with a mark: a process that lost the lease may still be about to set marks, of rows an old segment has.
        """
        if rebuild["is_read"]:
            await self._rebuilt(None)
            return 1
        last = None if rebuild["last"] is None else key_of(*rebuild["last"])
        await self._gather_on(Gathering(self._table, self._table.after, last, self._sizes.most), self._rebuilt)
        return 1

    async def _rebuilt(self, gathered: Gathered | None) -> None:
        if gathered is None:
            await self._store.finish_rebuilding(self._name)
            return
        id = await self._write(gathered.draft)
        rows = len(gathered.draft.keys)
        await self._store.continue_rebuilding(self._name, id, gathered.last, rows, is_read=gathered.is_last)
        self._writing = None

    async def _gather_on(self, gathering: Gathering, then: Callable[[Gathered | None], Awaitable[None]]) -> int:
        """Read one more piece of a segment, and store it when it is complete; answers how many rows that were."""
        self._work = gathering, then
        rows = await gathering.read_on()
        if gathering.is_complete:
            self._work = None
            await then(await gathering.finish())
        return rows or min(1, len(gathering))

    async def _write(self, draft: Draft) -> ObjectId:
        """Store a segment."""
        id = draft.outline.id
        await self._begin(id)
        for first in range(0, len(draft.blocks), _BLOCKS_AT_ONCE):
            await self._store.write_blocks(id, first, draft.blocks[first : first + _BLOCKS_AT_ONCE])
            await self._store.renew(self._name)
        await self._store.write_keys(id, draft.keys, len(draft.outline.first_keys))
        await self._store.finish(draft.outline)
        return id

    async def _merge(self, index: Row) -> int:
        chosen = self._sizes.to_be_merged(await self._store.sizes(index["segments"]))
        chosen = chosen or await self._store.scrubbed_before(index["segments"], index["now"] - STALE)
        if not chosen:
            return 0
        outlines = await self._store.outlines(chosen)
        if len(outlines) < len(chosen):
            raise PartsGone  # a segment that was merged without it would lose its rows
        merge = await in_thread(partial(Merge, [(each, await self._store.all_keys(each)) for each in outlines]))
        await self._begin(merge.id)
        written = 0
        while not merge.is_done:
            await self._feed(merge)
            blocks = await in_thread(merge.blocks)
            await self._store.write_blocks(merge.id, written, blocks)
            written += len(blocks)
            await self._store.renew(self._name)
        if outline := merge.outline():
            await self._store.write_keys(merge.id, merge.keys, len(outline.first_keys))
            await self._store.finish(outline)
        await self._store.replace(self._name, chosen, [merge.id] if outline else [])
        self._writing = None
        return len(merge.keys) or 1

    async def _feed(self, merge: Merge) -> None:
        for source in merge.sources:
            while source.has_more and not source.terms:
                source.add(await self._store.blocks_in_order(source.outline, source.blocks_read, _BLOCKS_AT_ONCE))

    async def _scrub(self, index: Row) -> int:
        """Take the rows of removed groups out of all segments."""
        groups = await self._store.forgotten()
        if not groups:
            return 0
        ids = [*index["segments"], *index.get("rebuild", {}).get("segments", [])]
        for outline in await self._store.outlines(ids):
            await self._scrubber.take_out(outline, [group_term(group) for group in groups])
        await self._store.renew(self._name)
        await self._store.scrubbed(groups)
        return len(groups)

    async def _drop_strays(self) -> None:
        """Remove what a process wrote that did not live to make it part of the index."""
        known = await self._store.known_segments()
        index = await self._store.renew(self._name)  # nobody else has begun one of those that are known, then
        named = {*index["segments"], *index.get("rebuild", {}).get("segments", [])}
        named |= {each["id"] for each in index.get("retired", [])}
        for id in set(known) - named:
            await self._store.drop(id)

    async def _drop_retired(self, index: Row) -> None:
        """Remove segments that were replaced long enough ago."""
        over = [each["id"] for each in index.get("retired", []) if each["at"] < index["now"] - GRACE]
        for id in over:
            await self._store.drop(id)
        if over:
            await self._store.dropped(self._name, over)
