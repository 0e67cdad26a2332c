"""How long one call to an upstream may take: for its first token, between two pieces, and in all."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from app.config import ProviderSettings
from app.llm.provider import ProviderError


class Waits:
    """The clock of one call. Only `within()` runs a timeout: the time a consumer takes for a piece is not counted.

    It never spans a `yield` of the stream, where a timeout would cancel the consumer's own work.
    """

    def __init__(self, provider: str, settings: ProviderSettings) -> None:
        self._clock = asyncio.get_running_loop().time
        started = self._clock()
        self._provider = provider
        self._idle = settings.idle_timeout
        self._total_at = started + settings.total_timeout
        self._total_sentence = f"did not finish its answer within {settings.total_timeout:g} s"
        self._next_at: float | None = started + settings.first_token_timeout
        self._sentence = f"sent no first token within {settings.first_token_timeout:g} s"

    def got_piece(self) -> None:
        """From the next wait on, the idle timeout holds."""
        self._next_at = None
        self._sentence = f"sent nothing more for {self._idle:g} s"

    def finish_within(self, seconds: float) -> None:
        """The answer is complete; what may still follow has this long. Further calls can only shorten it."""
        self._total_at = min(self._total_at, self._clock() + seconds)

    @asynccontextmanager
    async def within(self) -> AsyncGenerator[None, None]:
        """Raises `ProviderError` (`upstream_timeout`), with a sentence that says which time ran out."""
        now = self._clock()
        if self._next_at is None:
            self._next_at = now + self._idle
        at, sentence = min((self._next_at, self._sentence), (self._total_at, self._total_sentence))
        if at <= now:
            raise self._error(sentence)
        try:
            async with asyncio.timeout_at(at):
                yield
        except TimeoutError as error:
            raise self._error(sentence) from error

    def _error(self, sentence: str) -> ProviderError:
        return ProviderError("upstream_timeout", f"{self._provider} {sentence}.")
