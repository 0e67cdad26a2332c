"""What one request may spend on a search: its time, and its place among the searches that read rows."""

import time
from collections.abc import Callable, Hashable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from app.kit.turnstile import Turnstile


class Effort:
    """A budget of `seconds` from now on, in which waiting for a place does not count.

    `asker`: whose request it is; None is the process itself. Leaving the block gives the place back.
    """

    def __init__(
        self,
        turnstile: Turnstile,
        asker: Hashable | None,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._turnstile = turnstile
        self._asker = asker
        self._places = AsyncExitStack()
        self._has_place = False
        self.clock = clock
        self._end = clock() + seconds

    @property
    def left(self) -> float:
        """Seconds; zero or less when there are none."""
        return self._end - self.clock()

    async def take_place(self) -> None:
        """Wait for a place, once for the whole request. Raises TooManySearches."""
        if self._has_place:
            return
        started = self.clock()
        await self._places.enter_async_context(self._turnstile.admitted(self._asker))
        self._has_place = True
        self._end += self.clock() - started

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._places.aclose()
