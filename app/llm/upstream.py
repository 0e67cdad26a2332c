"""One provider as the process uses it: so many calls at once, failures tried again, left alone while it is down."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from math import ceil

from app.kit import metrics
from app.kit.logs import logger
from app.llm.breaker import Breaker
from app.llm.provider import Attempt, Chunk, CompletionRequest, Provider, ProviderError
from app.llm.retries import wait_before_retry
from app.llm.slots import Slots
from app.upstream_settings import ProviderSettings

_QUEUE_SECONDS = 1
"""When to ask again if the queue is full."""


@dataclass
class Call:
    """One question on its way: whose it is, what was tried in vain, and when the first attempt began."""

    on_behalf_of: str
    attempts: list[Attempt] = field(default_factory=list)
    started_at: float | None = None

    def start(self) -> None:
        """The time for the answer begins, unless it already has: waiting for a slot is not part of it."""
        if self.started_at is None:
            self.started_at = asyncio.get_running_loop().time()

    def left(self, total: float) -> float:
        now = asyncio.get_running_loop().time()
        return total - (now - (now if self.started_at is None else self.started_at))


@dataclass(frozen=True)
class Begun:
    """An answer of which the first piece is there."""

    first: Chunk
    rest: AsyncGenerator[Chunk, None]


class Upstream:
    """A provider, with its slots and its breaker."""

    def __init__(self, provider: Provider, settings: ProviderSettings) -> None:
        self.provider = provider
        self._settings = settings
        waiting = metrics.calls_waiting.labels(provider.name)
        self._slots = Slots(settings.max_concurrency, settings.max_queue, waiting.inc)
        self._breaker = Breaker(settings.breaker_failures, settings.breaker_cooldown)

    def refusal(self) -> ProviderError | None:
        """Why one more call would fail at once, with the seconds after which it may not; None when it would not."""
        if wait := self._breaker.wait():
            return self._unavailable("has failed several times in a row and is left alone for a while", wait)
        if self._slots.is_full:
            return self._unavailable("has too many calls waiting for it", _QUEUE_SECONDS)
        return None

    @asynccontextmanager
    async def answering(self, call: Call, model: str, request: CompletionRequest) -> AsyncGenerator[Begun, None]:
        """The answer from its first piece on, after as many attempts as the settings allow.

        Raises `ProviderError`; each attempt that failed before the first token is added to the call's. `model` is its
        full name, for them. What the body of the `with` raises tells how the answer ended.
        """
        await self._take_slot(call, model)
        try:
            begun = await self._begin(call, model, request)
            try:
                yield begun
            except ProviderError as error:
                self._breaker.failed(error, is_trial=False)
                raise
            else:
                self._breaker.succeeded()
            finally:
                await begun.rest.aclose()
        finally:
            self._slots.release()

    async def _take_slot(self, call: Call, model: str) -> None:
        if refusal := self.refusal():
            raise self._failed(call, model, refusal)
        if self._slots.take():
            return
        seconds = self._settings.queue_timeout
        try:
            await self._slots.wait(call.on_behalf_of, seconds)
        except TimeoutError as error:
            refusal = self._unavailable(f"had no room for this call within {seconds:g} s", _QUEUE_SECONDS)
            raise self._failed(call, model, refusal) from error

    async def _begin(self, call: Call, model: str, request: CompletionRequest) -> Begun:
        call.start()
        for number in count():
            left = call.left(self._settings.total_timeout)
            try:
                return await self._attempt(request, left)
            except ProviderError as error:
                if error.has_begun:
                    raise
                failure = self._failed(call, model, error)
            wait = wait_before_retry(number, failure, self._settings, left=call.left(self._settings.total_timeout))
            if wait is None or self._breaker.wait():
                raise failure
            await asyncio.sleep(wait)
        raise AssertionError("count() never ends")

    async def _attempt(self, request: CompletionRequest, left: float) -> Begun:
        if wait := self._breaker.wait():  # others have failed while this call waited
            raise self._unavailable("has failed several times in a row and is left alone for a while", wait)
        if left <= 0:  # other attempts have taken it; that says nothing about this upstream
            raise ProviderError("upstream_timeout", f"{self.provider.name} was not asked: the time was over.")
        is_trial = self._breaker.enter()
        chunks = self.provider.stream(request, total=left)
        try:
            first = await anext(chunks)
        except ProviderError as error:
            self._breaker.failed(error, is_trial=is_trial)
            if wait := self._breaker.wait():
                logger.error(
                    "llm_upstream_left_alone", provider=self.provider.name, code=error.code, seconds=ceil(wait)
                )
            raise
        except BaseException:
            self._breaker.left(is_trial=is_trial)
            raise
        self._breaker.answered()
        return Begun(first, chunks)

    def _failed(self, call: Call, model: str, error: ProviderError) -> ProviderError:
        call.attempts.append(Attempt(model, self.provider.name, error.code, error.message))
        logger.warning("llm_attempt_failed", model=model, code=error.code, attempt=len(call.attempts))
        return error

    def _unavailable(self, sentence: str, retry_after: float) -> ProviderError:
        return ProviderError("upstream_unavailable", f"{self.provider.name} {sentence}.", retry_after=retry_after)
