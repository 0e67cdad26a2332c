"""Whether the database has a primary, and what requests do while it has none: they wait for it as long as an election
takes, without a task in the driver or a deadline that runs, and are refused at once when it stays away for longer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from pymongo import AsyncMongoClient

from app.kit import metrics
from app.kit.errors import Unavailable
from app.kit.logs import logger

LOOK_SECONDS = 0.25
"""How often is looked: the driver tells its listeners up to a second late, and looking costs microseconds."""
RETRY_SECONDS = 2


class Primary:
    """What the process knows of the database's primary. For one event loop.

    Nobody who begins while it is away gets as far as the driver, so what is refused has changed nothing.
    """

    def __init__(self, *, patience: float) -> None:
        """`patience`: how long it may be away before requests are refused, in seconds."""
        self._patience = patience
        self._lost_at: float | None = None
        self._settled = asyncio.Event()  # there is one, or nobody is to wait for it
        self._settled.set()
        metrics.primary.set(1)

    @property
    def is_away(self) -> bool:
        return self._lost_at is not None

    async def present(self) -> None:
        """Return when there is a primary; raises Unavailable when it has been away for longer than the patience."""
        if self._lost_at is None:
            return
        left = self._lost_at + self._patience - asyncio.get_running_loop().time()
        if left > 0:
            with metrics.requests_held.track_inprogress(), suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._settled.wait()
        if self.is_away:
            sentence = "The database has no primary that answers, and nothing was done; retry."
            raise Unavailable(sentence, retry_after=RETRY_SECONDS)

    def lose_patience(self) -> None:
        """Refuse who waits, and everybody else who would have to: the process is about to stop."""
        self._patience = 0.0
        self._settled.set()

    @asynccontextmanager
    async def watched(self, client: AsyncMongoClient[Any]) -> AsyncIterator[None]:
        """Know of the client's primary while the block runs."""
        task = asyncio.create_task(self._watch(client), name="watch-primary")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _watch(self, client: AsyncMongoClient[Any]) -> None:
        while True:
            self.note(is_there=client.topology_description.has_writable_server())
            await asyncio.sleep(LOOK_SECONDS)

    def note(self, *, is_there: bool) -> None:
        """Say whether there is one just now."""
        now = asyncio.get_running_loop().time()
        if is_there and self._lost_at is not None:
            logger.warning("primary_found", seconds=round(now - self._lost_at, 1))
            self._lost_at = None
            self._settled.set()
            metrics.primary.set(1)
        elif not is_there and self._lost_at is None:
            logger.warning("primary_lost")
            self._lost_at = now
            if self._patience:
                self._settled.clear()
            metrics.primary.set(0)
