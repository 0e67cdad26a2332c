"""The language models of this process behind one face: found by name, called, counted and priced."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from math import ceil

from app.config import Settings
from app.kit.errors import Invalid, Unavailable
from app.llm.echo import Echo
from app.llm.history import estimate_usage
from app.llm.openai_compatible import OpenAICompatible
from app.llm.pricing import Prices
from app.llm.provider import Chunk, CompletionRequest, Finish, ProviderError, Served, TextDelta, Usage
from app.llm.upstream import Begun, Call, Upstream
from app.upstream_settings import ProviderSettings

_NO_LIMIT = 1_000_000
# With these statuses an upstream refuses us or the model; with every other 4xx the request, as the next one would.
_OUR_FAULT = frozenset((401, 403, 404))

Hearer = Callable[[Chunk], Awaitable[None]]
"""Who is told of each piece of an answer as it comes."""


class LanguageModels:
    """`echo`, and `name:model` for each upstream of `Settings.llm_providers`.

    Before its first token a call that fails is sent again, then to the model's fallbacks in their order (the fallbacks
    of a fallback are not tried); behind it a failure is the answer's end. Use and close it in one event loop.
    """

    def __init__(self, settings: Settings) -> None:
        echo = Echo()
        self._upstreams = {echo.name: Upstream(echo, ProviderSettings(max_concurrency=_NO_LIMIT))}
        for name, each in settings.llm_providers.items():
            provider = OpenAICompatible(name, each, max_answer_bytes=settings.max_message_bytes)
            self._upstreams[name] = Upstream(provider, each)
        self._fallbacks = settings.llm_fallbacks
        self._prices = Prices(settings.llm_prices)

    def check(self, model: str) -> str:
        """The name of the model's provider; raises `Invalid` for field `body.model`."""
        return self._resolve(model)[0].provider.name

    def admit(self, model: str) -> None:
        """Raises `Unavailable`, saying when to come back, when neither the model nor a fallback can take a call now.

        Only what is known at once counts: circuits that are open and queues that are full. Raises `Invalid` too.
        """
        refusals: list[ProviderError] = []
        for each in self._candidates(model):
            refusal = self._resolve(each)[0].refusal()
            if refusal is None:
                return
            refusals.append(refusal)
        seconds = min(refusal.retry_after or 0 for refusal in refusals)
        raise Unavailable(refusals[0].message, retry_after=max(1, ceil(seconds)))

    async def stream(self, request: CompletionRequest, *, on_behalf_of: str = "") -> AsyncGenerator[Chunk, None]:
        """`Served`, then the answer piece by piece, then `Finish` with its usage; raises `ProviderError`, `Invalid`.

        `on_behalf_of`: whose call it is; where calls have to wait, their callers take turns. Close the generator
        (`contextlib.aclosing`) when it is left early: that frees the upstream's connection at once.
        """
        call = Call(on_behalf_of)
        texts: list[str] = []
        try:
            async with AsyncExitStack() as stack:
                served, begun = await self._begin(call, request, stack)
                yield served
                chunk: Chunk | None = begun.first
                while chunk is not None:
                    if isinstance(chunk, TextDelta):
                        texts.append(chunk.text)
                    elif isinstance(chunk, Finish) and chunk.usage is None:
                        chunk = replace(chunk, usage=estimate_usage(request, "".join(texts), chunk))
                    yield chunk
                    chunk = await anext(begun.rest, None)
        except ProviderError as error:
            error.attempts = tuple(call.attempts)
            raise

    async def complete(self, request: CompletionRequest, *, timeout: float, hear: Hearer | None = None) -> str:
        """The whole text of a small call, within `timeout` seconds in all; raises `ProviderError`, and what `hear`
        does, which is told of each piece as it comes."""
        texts: list[str] = []
        try:
            async with asyncio.timeout(timeout), aclosing(self.stream(request)) as chunks:
                async for chunk in chunks:
                    if isinstance(chunk, TextDelta):
                        texts.append(chunk.text)
                    if hear is not None:
                        await hear(chunk)
            return "".join(texts)
        except TimeoutError as error:
            sentence = f"{self.check(request.model)} did not finish its answer within {timeout:g} s."
            raise ProviderError("upstream_timeout", sentence) from error

    def cost(self, model: str, usage: Usage) -> float | None:
        """In US dollars; None when the model has no price."""
        return self._prices.cost(model, usage)

    def names(self) -> list[str]:
        """The providers: `echo`, which is also its model's name, then the upstreams in the order of the settings."""
        return list(self._upstreams)

    async def aclose(self) -> None:
        """Close every provider, also when one of them fails to."""
        async with AsyncExitStack() as stack:
            for upstream in self._upstreams.values():
                stack.push_async_callback(upstream.provider.aclose)

    async def _begin(self, call: Call, request: CompletionRequest, stack: AsyncExitStack) -> tuple[Served, Begun]:
        """The first of the candidates that answers; raises the last one's error."""
        *others, last = self._candidates(request.model)
        for model in others:
            try:
                return await self._begin_with(model, call, request, stack)
            except ProviderError as error:
                if error.has_begun or (error.code == "upstream_rejected" and error.status not in _OUR_FAULT):
                    raise
        return await self._begin_with(last, call, request, stack)

    async def _begin_with(
        self, model: str, call: Call, request: CompletionRequest, stack: AsyncExitStack
    ) -> tuple[Served, Begun]:
        upstream, its_model = self._resolve(model)
        begun = await stack.enter_async_context(upstream.answering(call, model, replace(request, model=its_model)))
        return Served(model, upstream.provider.name, tuple(call.attempts)), begun

    def _candidates(self, model: str) -> Sequence[str]:
        return [model, *self._fallbacks.get(model, ())]

    def _resolve(self, model: str) -> tuple[Upstream, str]:
        """The upstream and the name the model has there."""
        if model == "echo":
            return self._upstreams[model], model
        name, _, upstream_model = model.partition(":")
        if name == "echo" or name not in self._upstreams or not upstream_model:
            known = ", ".join(each if each == "echo" else f"{each}:<model>" for each in self._upstreams)
            raise Invalid.field("body.model", f"there is no such model; known are {known}.")
        return self._upstreams[name], upstream_model
