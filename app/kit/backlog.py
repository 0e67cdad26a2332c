"""How much work waits in the database, looked up now and then: for whoever watches, and for nothing else."""

import asyncio
import random
from typing import Protocol

from pymongo.errors import PyMongoError

from app.kit import metrics
from app.kit.cancellation import raise_if_cancelled
from app.kit.logs import logger

LOOK_SECONDS = 10.0
MOST = 1000
"""What is counted up to: more is too much all the same, and counting must stay cheap."""


class Queue(Protocol):
    """Rows of which some wait."""

    async def count_waiting(self, most: int) -> int:
        """How many, up to `most`."""
        ...


class Backlog:
    """Shows the lengths of queues as metrics, each under its name."""

    def __init__(self, **queues: Queue) -> None:
        self._queues = queues
        self._clock: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._clock = asyncio.create_task(self._look(), name="backlog")

    async def aclose(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            await asyncio.wait({self._clock})

    async def look(self) -> None:
        """Count all of them now, and what the event loop has to do."""
        metrics.tasks.set(len(asyncio.all_tasks()))
        for name, queue in self._queues.items():
            metrics.queue.labels(name).set(await queue.count_waiting(MOST))

    async def _look(self) -> None:
        while True:
            raise_if_cancelled()
            try:
                await self.look()
            except PyMongoError as error:
                logger.warning("backlog_not_counted", error=type(error).__name__)
            await asyncio.sleep(LOOK_SECONDS * random.uniform(0.5, 1))  # noqa: S311 spreads the processes
