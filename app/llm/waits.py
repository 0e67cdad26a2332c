"""How long one call to an upstream may take: for its first token, between two pieces, and in all."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from app.llm.provider import ProviderError
from app.upstream_settings import ProviderSettings


class Waits:
    """The clock of one call. Only waiting is timed: the time a consumer takes for a piece is not counted.

    Before the body there is one wait (`within`). Reading the body is many, one for each packet: they share one timer,
    which interrupts a read by closing the response.
    """

    def __init__(self, provider: str, settings: ProviderSettings, *, total: float | None = None) -> None:
        """`total`: seconds left for the whole answer; default: `total_timeout`."""
        self._loop = asyncio.get_running_loop()
        started = self._loop.time()
        self._provider = provider
        self._idle = settings.idle_timeout
        self._total_at = started + (settings.total_timeout if total is None else total)
        self._total_sentence = f"did not finish its answer within {settings.total_timeout:g} s"
        self._next_at: float | None = started + settings.first_token_timeout
        self._sentence = f"sent no first token within {settings.first_token_timeout:g} s"
        self._interrupt: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ends_at: float | None = None  # of the wait that is going on
        self.has_begun = False
        self.is_over = False

    def got_piece(self) -> None:
        """From the next wait on, the idle timeout holds."""
        self._next_at = None
        if not self.has_begun:
            self.has_begun = True
            self._sentence = f"sent nothing more for {self._idle:g} s"

    def finish_within(self, seconds: float) -> None:
        """The answer is complete; what may still follow has this long. Further calls can only shorten it."""
        self._total_at = min(self._total_at, self._loop.time() + seconds)

    @asynccontextmanager
    async def within(self) -> AsyncGenerator[None, None]:
        """Raises `ProviderError` (`upstream_timeout`), with a sentence that says which time ran out."""
        at = self._next_end()
        if at <= self._loop.time():
            raise self.error()
        try:
            async with asyncio.timeout_at(at):
                yield
        except TimeoutError as error:
            raise self.error() from error

    def interrupt_with(self, interrupt: Callable[[], None]) -> None:
        """What ends a read whose time is over; `is_over` is set before."""
        self._interrupt = interrupt

    def begin(self) -> None:
        """A read begins; raises `ProviderError` when there is no time left for it."""
        now, at = self._loop.time(), self._next_end()
        if at <= now:
            raise self.error()
        self._ends_at = at
        # A timer that fires too early sets itself again, so that most reads leave it as it is.
        if self._timer is None or self._timer.when() > at:
            self._set_timer(at)

    def end(self) -> None:
        """The read is over."""
        self._ends_at = None

    def close(self) -> None:
        """Nothing is waited for any more."""
        self._ends_at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def error(self) -> ProviderError:
        """Which time ran out."""
        sentence = self._total_sentence if self._total_at < (self._next_at or self._total_at) else self._sentence
        return ProviderError("upstream_timeout", f"{self._provider} {sentence}.")

    def _next_end(self) -> float:
        if self._next_at is None:
            self._next_at = self._loop.time() + self._idle
        return min(self._next_at, self._total_at)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._ends_at is None:  # the consumer has its time; the next read sets the timer again
            return
        if self._ends_at > self._loop.time():
            self._set_timer(self._ends_at)
        elif self._interrupt is not None:
            self.is_over = True
            self._interrupt()
