"""A question that many ask and that costs something: it is answered once a second, and the others are told the same."""

import asyncio
from collections.abc import Awaitable, Callable


class Probe:
    """For one event loop. `ask` says no by raising."""

    def __init__(self, ask: Callable[[], Awaitable[None]], *, seconds: float = 1.0) -> None:
        """`seconds`: how long an answer counts."""
        self._ask = ask
        self._seconds = seconds
        self._until = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        """Return when the answer is yes; raises what `ask` raises. Who asks meanwhile shares the answer."""
        loop = asyncio.get_running_loop()
        if self._asking is None or (self._asking.done() and loop.time() >= self._until):
            self._asking = asyncio.create_task(self._asked(), name="probe")
            self._asking.add_done_callback(_heard)
        await asyncio.shield(self._asking)

    async def _asked(self) -> None:
        try:
            await self._ask()
        finally:
            self._until = asyncio.get_running_loop().time() + self._seconds


def _heard(task: "asyncio.Task[None]") -> None:
    """Take the error of a task that nobody may wait for any more, which would be logged as forgotten otherwise."""
    if not task.cancelled():
        task.exception()
