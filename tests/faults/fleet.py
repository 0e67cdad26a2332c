"""Several servers on one database, of which any may be killed at any moment and is replaced at once.

async with Fleet(nursery, folder, 3, turn_lease=1, **shared) as fleet:
    seat = await fleet.pick(rng)
    await seat.client.get("/api/users/me")
    await fleet.kill(seat)
    await fleet.has(3)
"""

import asyncio
import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.faults.nursery import Nursery
from tests.processes import ServerProcess

SILENCE = 30.0
"""Seconds after which a client gives a connection up; a living one carries at least a comment every 15 s."""


@dataclass(eq=False)
class Seat:
    """One server with a client for it; `killed_at` on the monotonic clock."""

    server: ServerProcess
    client: httpx.AsyncClient
    killed_at: float | None = None


class Fleet:
    """`size` servers with the same settings; an asynchronous context manager."""

    def __init__(self, nursery: Nursery, folder: Path, size: int, **settings: Any) -> None:
        self.serving: list[Seat] = []
        self.kills = 0
        self.tracebacks: list[str] = []
        self._nursery = nursery
        self._folder = folder
        self._size = size
        self._settings = settings
        self._started = 0
        self._changed = asyncio.Condition()
        self._starts = asyncio.TaskGroup()
        self._stack = AsyncExitStack()

    async def pick(self, rng: random.Random) -> Seat:
        """Any server that serves, as far as anybody knows."""
        await self.has(1)
        return rng.choice(self.serving)

    async def has(self, count: int) -> None:
        """Return when so many serve."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.serving) >= count)

    async def kill(self, seat: Seat, *, is_replaced: bool = True) -> None:
        """SIGKILL; a replacement starts at once."""
        self.serving.remove(seat)
        seat.server.kill()
        seat.killed_at = time.monotonic()
        self.kills += 1
        await seat.server.ended()
        self._note_tracebacks(seat)
        if is_replaced:
            self._starts.create_task(self._start())

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.TaskGroup() as starts:
                for _ in range(self._size):
                    starts.create_task(self._start())
        except BaseException:
            await self._stack.aclose()
            raise
        await self._starts.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._starts.__aexit__(kind, error, traceback)
        finally:
            for seat in self.serving:
                self._note_tracebacks(seat)
            await self._stack.__aexit__(kind, error, traceback)

    async def _start(self) -> None:
        self._started += 1
        server = self._nursery.server(self._folder / f"server {self._started}", **self._settings)
        await self._stack.enter_async_context(server)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        client = await self._stack.enter_async_context(server.client(limits=limits))
        client.timeout = httpx.Timeout(SILENCE)
        async with self._changed:
            self.serving.append(Seat(server, client))
            self._changed.notify_all()

    def _note_tracebacks(self, seat: Seat) -> None:
        """Keep the log of a server that met an error nobody had thought of."""
        if "Traceback" in seat.server.log:
            self.tracebacks.append(seat.server.log)
