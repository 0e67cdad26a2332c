"""One index: what searches and deletions need of it, and the task that builds it beside the requests."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass

import pymongo
from bson import ObjectId
from pymongo.errors import PyMongoError

from app.kit.cancellation import raise_if_cancelled
from app.kit.logs import logger
from app.search.builder import IndexBuilder, Sizes
from app.search.lookup import Lookup
from app.search.register import LeaseLost
from app.search.store import IndexStore, PartsGone
from app.search.table import Table

_PAUSE_SECONDS = 3.0
_LEASE_SECONDS = 30.0
_SCRUB_SECONDS = 60.0
_GOODBYE_SECONDS = 2.0
_TURN_SECONDS = 0.5


@dataclass(frozen=True)
class Progress:
    """How many rows are done, of how many."""

    done: int
    total: int


class TextIndex:
    """The index `name` of a table's texts."""

    def __init__(
        self, name: str, table: Table, *, sizes: Sizes | None = None, scrub_seconds: float = _SCRUB_SECONDS
    ) -> None:
        """`scrub_seconds`: how long removed rows are gathered before they are taken out together."""
        self.store = IndexStore(name, lease_seconds=_LEASE_SECONDS)
        self.lookup = Lookup(self.store)
        self._table = table
        self._sizes = sizes or Sizes()
        self.builder = IndexBuilder(self.store, table, self._sizes, scrub_seconds=scrub_seconds)
        self._task: asyncio.Task[None] | None = None

    def open(self, *, builds: bool = True) -> None:
        """Keep the outlines of all segments at hand, and take part in building if so, in a task of its own."""
        self._task = asyncio.create_task(self._run(builds=builds), name="search-index")

    async def aclose(self) -> None:
        """Stop building, and let another process do it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None
        if not self.builder.is_holder:
            return
        try:
            with pymongo.timeout(_GOODBYE_SECONDS):
                await self.builder.release()
        except PyMongoError as error:
            logger.warning("search_index_not_released", error=type(error).__name__)  # its lease ends by itself

    async def forget(self, *groups: ObjectId) -> None:
        """The rows of these groups are removed for good; in the transaction, if any, that removes them."""
        await self.store.forget(*groups)

    @property
    def table_name(self) -> str:
        return self._table.collection.name

    async def unmarked(self) -> int:
        """How many rows are in no segment yet, which searches have to read."""
        return await self._table.count_unmarked()

    async def catch_up(self) -> AsyncGenerator[Progress, None]:
        """Index the rows that wait now, together with whoever else builds; answers how far that is, at least once.

        Another process that builds may leave a few, which searches read soon enough.
        """
        progress = Progress(0, 0)
        async with aclosing(self._index_waiting()) as steps:
            async for progress in steps:
                yield progress
        while await self._round():
            yield progress

    async def rebuild(self) -> AsyncGenerator[Progress, None]:
        """Make all segments anew, or go on with that, while searches use those that are there."""
        await self.store.begin_rebuilding()
        total = await self._table.count()
        done = await self.store.rebuilt() or 0
        async with aclosing(self._index_waiting()) as steps:  # first, or they would be read twice
            async for _ in steps:
                yield Progress(done, max(done, total))
        while (rows := await self.store.rebuilt()) is not None:
            done = rows + self.builder.at_hand
            yield Progress(done, max(done, total))
            await self._round()  # a busy table always has a few more rows: those come at the end
        done = max(done, total)  # the last round's rows were not seen any more
        async with aclosing(self.catch_up()) as steps:
            async for progress in steps:
                yield Progress(done + progress.done, done + progress.total)

    async def _index_waiting(self) -> AsyncGenerator[Progress, None]:
        total = waiting = await self._table.count_unmarked()
        while waiting > 0:
            yield Progress(total - waiting, total)
            rows = await self._round(least=1)
            waiting = min(await self._table.count_unmarked(), waiting - (rows or 0))
            if rows is None and waiting < self._sizes.least:
                break
        yield Progress(total - max(0, waiting), total)

    async def _round(self, *, least: int | None = None) -> int | None:
        """One round of ours; while another process builds, or has begun to, None after a moment."""
        raise_if_cancelled()
        with suppress(LeaseLost):
            rows = await self.builder.round(least=least)
            if rows is not None:
                return rows
        await asyncio.sleep(_TURN_SECONDS)
        return None

    async def _run(self, *, builds: bool) -> None:
        while True:
            raise_if_cancelled()
            try:
                await self.lookup.warm()
                while builds and await self.builder.round():
                    raise_if_cancelled()
            except LeaseLost:
                logger.warning("search_index_lease_lost")
            except PartsGone:
                logger.info("search_index_changed")  # a segment was replaced under this process; the next round sees it
            except PyMongoError as error:
                logger.warning("search_index_not_built", error=type(error).__name__)
            except Exception:  # noqa: BLE001 searches read the rows themselves as long as they are not indexed
                logger.exception("search_index_not_built")
            await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 spreads the processes
