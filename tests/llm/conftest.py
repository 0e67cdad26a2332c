"""The fake upstream, and providers that call it."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest

from app.config import Settings
from app.llm.openai_compatible import OpenAICompatible
from app.llm.provider import ChatMessage, Chunk, CompletionRequest, Finish, Provider, ProviderError, TextDelta
from app.llm.service import LanguageModels
from app.upstream_settings import ProviderSettings
from tests.upstream import Upstream

Connect = Callable[..., OpenAICompatible]
MakeModels = Callable[..., LanguageModels]


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


@pytest.fixture
async def make_models(upstream: Upstream) -> AsyncIterator[MakeModels]:
    """Makes models of the upstream, whose retries do not wait, and closes them.

    It is the provider `fake` with the settings of choice, and `spare` with the default ones or those of `spare`.
    """
    async with AsyncExitStack() as stack:

        def make(
            *, fallbacks: Any = None, prices: Any = None, spare: dict[str, Any] | None = None, **fake: Any
        ) -> LanguageModels:
            common = {"base_url": upstream.base_url, "retry_backoff": 0}
            settings = Settings(
                _env_file=None,
                llm_providers={
                    name: ProviderSettings.model_validate(common | chosen)
                    for name, chosen in (("fake", fake), ("spare", spare or {}))
                },
                llm_fallbacks=fallbacks or {},
                llm_prices=prices or {},
            )
            models = LanguageModels(settings)
            stack.push_async_callback(models.aclose)
            return models

        yield make


@pytest.fixture
def models(make_models: MakeModels) -> LanguageModels:
    return make_models()


def ask(model: str, content: str = "Hi", **parameters: Any) -> CompletionRequest:
    return CompletionRequest(model=model, messages=[ChatMessage("user", content)], **parameters)


async def collect(provider: Provider | LanguageModels, request: CompletionRequest, **options: Any) -> list[Chunk]:
    async with aclosing(provider.stream(request, **options)) as chunks:
        return [chunk async for chunk in chunks]


async def complete(provider: Provider, request: CompletionRequest) -> tuple[str, Finish]:
    """The joined text and the end; checks what every provider promises about the order."""
    *deltas, finish = await collect(provider, request)
    assert isinstance(finish, Finish)
    assert all(isinstance(delta, TextDelta) and delta.text for delta in deltas)
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)), finish


async def fail(models: LanguageModels, request: CompletionRequest, **options: Any) -> tuple[list[Chunk], ProviderError]:
    """What came before the error, and the error."""
    chunks: list[Chunk] = []
    with pytest.raises(ProviderError) as raised:
        await collect_into(chunks, models.stream(request, **options))
    return chunks, raised.value


async def collect_into(chunks: list[Chunk], stream: AsyncGenerator[Chunk, None]) -> None:
    async with aclosing(stream):
        async for each in stream:
            chunks.append(each)  # noqa: PERF401 - a comprehension would lose what came before an error
