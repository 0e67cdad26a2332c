"""One index: what searches and deletions need of it, and the task that builds it beside the requests."""

import asyncio
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pymongo
from bson import ObjectId
from pymongo.errors import PyMongoError

from app.kit.cancellation import raise_if_cancelled
from app.kit.logs import logger
from app.search.builder import IndexBuilder, Sizes
from app.search.lookup import Lookup
from app.search.store import IndexStore, LeaseLost
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
        self.builder = IndexBuilder(self.store, table, sizes or Sizes(), scrub_seconds=scrub_seconds)
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Take part in building, in a task of its own."""
        self._task = asyncio.create_task(self._run(), name="search-index")

    async def aclose(self) -> None:
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait({self._task})
        self._task = None
        try:
            with pymongo.timeout(_GOODBYE_SECONDS):
                await self.builder.release()
        except PyMongoError as error:
            logger.warning("search_index_not_released", error=type(error).__name__)  # its lease ends by itself

    async def forget(self, group: ObjectId) -> None:
        """The rows of a group are removed for good; in the transaction, if any, that removes them."""
        await self.store.forget(group)

    async def unmarked(self) -> int:
        """How many rows are in no segment yet, which searches have to read."""
        return await self._table.count_unmarked()

    async def catch_up(self) -> AsyncGenerator[Progress, None]:
        """Index every row that is there, together with whoever else builds; answers how far that is."""
        total = await self._table.count_unmarked()
        left = total
        while left:
            yield Progress(total - left, total)
            await self._round()
            left = await self._table.count_unmarked()
            total = max(total, left)
        while await self._round():
            yield Progress(total, total)

    async def rebuild(self) -> AsyncGenerator[Progress, None]:
        """Make all segments anew, or go on with that, while searches use those that are there."""
        await self.store.begin_rebuilding()
        total = await self._table.count()
        while (done := await self.store.rebuilt()) is not None:
            yield Progress(done, max(done, total))
            await self._round()
        async for progress in self.catch_up():
            yield progress

    async def _round(self) -> int:
        """One round of ours, or a moment for whoever builds; answers how many rows it dealt with."""
        rows = await self.builder.round(least=1)
        if rows is None:
            await asyncio.sleep(_TURN_SECONDS)
        return 0 if rows is None else rows

    async def _run(self) -> None:
        while True:
            raise_if_cancelled()
            await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 spreads the processes
            try:
                while await self.builder.round():
                    raise_if_cancelled()
            except LeaseLost:
                logger.warning("search_index_lease_lost")
            except PyMongoError as error:
                logger.warning("search_index_not_built", error=type(error).__name__)
            except Exception:  # noqa: BLE001 searches read the rows themselves as long as they are not indexed
                logger.exception("search_index_not_built")
