"""The fake upstream, and providers that call it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest

from app.config import ProviderSettings
from app.llm.openai_compatible import OpenAICompatible
from app.llm.provider import ChatMessage, Chunk, CompletionRequest, Finish, Provider, TextDelta
from tests.upstream import Upstream

Connect = Callable[..., OpenAICompatible]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        yield server


@pytest.fixture
async def connect(upstream: Upstream) -> AsyncIterator[Connect]:
    """Makes providers of the upstream, with settings of choice, and closes them."""
    async with AsyncExitStack() as stack:

        def make(*, max_answer_bytes: int = 1024 * 1024, **settings: Any) -> OpenAICompatible:
            chosen = ProviderSettings.model_validate({"base_url": upstream.base_url} | settings)
            provider = OpenAICompatible("fake", chosen, max_answer_bytes=max_answer_bytes)
            stack.push_async_callback(provider.aclose)
            return provider

        yield make


@pytest.fixture
def provider(connect: Connect) -> OpenAICompatible:
    return connect()


def ask(model: str, content: str = "Hi", **parameters: Any) -> CompletionRequest:
    return CompletionRequest(model=model, messages=[ChatMessage("user", content)], **parameters)


async def collect(provider: Provider, request: CompletionRequest) -> list[Chunk]:
    async with aclosing(provider.stream(request)) as chunks:
        return [chunk async for chunk in chunks]


async def complete(provider: Provider, request: CompletionRequest) -> tuple[str, Finish]:
    """The joined text and the end; checks what every provider promises about the order."""
    *deltas, finish = await collect(provider, request)
    assert isinstance(finish, Finish)
    assert all(isinstance(delta, TextDelta) and delta.text for delta in deltas)
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)), finish
