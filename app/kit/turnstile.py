"""Who may do something expensive now: so many in all, so many for each caller, and callers take turns.

A caller with a hundred requests gets no more turns than one with a single request. Waiting is short and the number of
those who wait is bounded, so that a flood is refused rather than kept.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from app.kit import metrics
from app.kit.errors import TooManySearches

WAIT_SECONDS = 5.0
MAX_WAITING = 8
"""Requests of one caller that may wait."""

_Turn = asyncio.Future[None]


class Turnstile:
    """`limit` places, of which one caller has at most `per_caller`. For one event loop."""

    def __init__(
        self,
        limit: int = 1,
        *,
        per_caller: int = 1,
        max_waiting: int = MAX_WAITING,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._free = limit
        self._per_caller = per_caller
        self._max_waiting = max_waiting
        self._wait_seconds = wait_seconds
        self._inside: Counter[Hashable] = Counter()
        self._queues: dict[Hashable, deque[_Turn]] = {}  # whose turn is next first; none is empty

    @asynccontextmanager
    async def admitted(self, caller: Hashable | None) -> AsyncIterator[None]:
        """Hold a place; None is the process itself, which needs none. Raises TooManySearches.

        Who is cancelled while waiting, or while holding it, gives the place back.
        """
        if caller is None:
            yield
            return
        if self._may_enter(caller):  # then nobody waits who could have entered
            self._enter(caller)
        else:
            await self._wait(caller)
        try:
            yield
        finally:
            self._leave(caller)

    def _may_enter(self, caller: Hashable) -> bool:
        return self._free > 0 and self._inside[caller] < self._per_caller

    def _enter(self, caller: Hashable) -> None:
        self._free -= 1
        self._inside[caller] += 1

    def _leave(self, caller: Hashable) -> None:
        self._free += 1
        self._inside[caller] -= 1
        if not self._inside[caller]:
            del self._inside[caller]
        self._let_in()

    def _let_in(self) -> None:
        """Give what is free to those who wait, one each in turn."""
        while (caller := next(filter(self._may_enter, self._queues), None)) is not None:
            queue = self._queues.pop(caller)
            turn = queue.popleft()
            if queue:
                self._queues[caller] = queue  # behind all others
            if not turn.done():  # else cancelled, but not yet gone
                self._enter(caller)
                turn.set_result(None)

    async def _wait(self, caller: Hashable) -> None:
        """Enter when it is the caller's turn."""
        queue = self._queues.setdefault(caller, deque())
        if len(queue) >= self._max_waiting:
            raise TooManySearches
        turn: _Turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        metrics.scans_waiting.inc()
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # it was this one's turn in the same moment
                self._leave(caller)
            else:
                self._give_up(caller, turn)
            if isinstance(error, TimeoutError):
                raise TooManySearches from error
            raise
        finally:
            metrics.scans_waiting.dec()

    def _give_up(self, caller: Hashable, turn: _Turn) -> None:
        queue = self._queues.get(caller, deque())
        if turn in queue:
            queue.remove(turn)
            if not queue:
                del self._queues[caller]
