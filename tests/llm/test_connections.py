"""One pool of connections for the life of the process: reused, and freed at once when a stream is left."""

import asyncio
import gc
import warnings
from contextlib import aclosing

import pytest
from aiohttp import web

from app.llm.openai_compatible import OpenAICompatible
from app.llm.provider import Finish, ProviderError, TextDelta
from tests.llm.conftest import Connect, ask, complete
from tests.upstream import Exchange, Upstream, answer, refuse


async def test_sequential_calls_share_one_connection(upstream: Upstream, provider: OpenAICompatible) -> None:
    upstream.script["refuse"] = refuse(429)
    for model in ["tokens", "whole", "no-done", "crlf", "tokens", "error"] * 3:
        await complete(provider, ask(model))
        with pytest.raises(ProviderError):
            await complete(provider, ask("refuse"))
    assert (len(upstream.requests), upstream.connections) == (36, 1)


async def test_concurrent_calls_reuse_the_connections_of_earlier_ones(
    upstream: Upstream, provider: OpenAICompatible
) -> None:
    async def together() -> None:
        barrier = asyncio.Barrier(20)

        async def behave(exchange: Exchange) -> web.StreamResponse:
            await barrier.wait()
            return await answer()(exchange)

        upstream.script["together"] = behave
        answers = await asyncio.gather(*(complete(provider, ask("together")) for _ in range(20)))
        assert {text for text, _ in answers} == {"Hello, world!"}

    await together()
    assert upstream.connections == 20
    await together()
    assert upstream.connections == 20


async def test_leaving_the_stream_closes_the_connection(upstream: Upstream, provider: OpenAICompatible) -> None:
    async with aclosing(provider.stream(ask("stall-middle"))) as chunks:
        assert await anext(chunks) == TextDelta("Hel")
    await upstream.hung_up.acquire()
    assert await complete(provider, ask("tokens"))
    assert upstream.connections == 2


@pytest.mark.parametrize("model", ["stall-first", "stall-middle"])
async def test_cancelling_closes_the_connection(upstream: Upstream, provider: OpenAICompatible, model: str) -> None:
    call = asyncio.create_task(complete(provider, ask(model)))
    await upstream.arrived.acquire()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await upstream.hung_up.acquire()


async def test_a_timeout_around_the_whole_call_is_the_callers(upstream: Upstream, provider: OpenAICompatible) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await complete(provider, ask("stall-first"))
    await upstream.hung_up.acquire()


async def test_closing_the_provider_ends_running_answers(upstream: Upstream, connect: Connect) -> None:
    provider = connect()
    chunks = provider.stream(ask("stall-middle"))
    assert await anext(chunks) == TextDelta("Hel")
    await provider.aclose()
    with pytest.raises(ProviderError) as error:
        await anext(chunks)
    assert error.value.code == "upstream_cut"
    await upstream.hung_up.acquire()


async def test_a_server_that_went_away(connect: Connect) -> None:
    async with Upstream() as server:
        provider = connect(base_url=server.base_url)
        assert (await complete(provider, ask("tokens")))[1].reason == "stop"
    errors = []
    for _ in range(2):
        with pytest.raises(ProviderError) as error:
            await complete(provider, ask("tokens"))
        errors.append(error.value)
    # The first call may still take the pooled connection, which the server has closed meanwhile.
    assert errors[0].code in ("upstream_cut", "upstream_unreachable")
    assert errors[0].retryable
    assert errors[1].code == "upstream_unreachable"


async def test_nothing_is_left_open(upstream: Upstream, connect: Connect) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        unused, used = connect(), connect()
        await complete(used, ask("tokens"))
        left = used.stream(ask("stall-middle"))
        await anext(left)
        await left.aclose()
        await used.aclose()
        await unused.aclose()
        del unused, used, left
        gc.collect()
        await asyncio.sleep(0)
    assert [str(warning.message) for warning in caught] == []


async def test_cookies_are_not_kept(upstream: Upstream, provider: OpenAICompatible) -> None:
    upstream.script["cookie"] = refuse(500, set_cookie="user=alice")
    with pytest.raises(ProviderError):
        await complete(provider, ask("cookie"))
    assert isinstance((await complete(provider, ask("tokens")))[1], Finish)
    assert "Cookie" not in upstream.requests[1].headers


async def test_the_limit_of_connections_holds_and_waiting_for_one_is_bounded(
    upstream: Upstream, connect: Connect
) -> None:
    provider = connect(connect_timeout=0.05, max_concurrency=1)
    async with aclosing(provider.stream(ask("stall-middle"))) as chunks:
        assert await anext(chunks) == TextDelta("Hel")
        with pytest.raises(ProviderError) as error:
            await complete(provider, ask("tokens"))
        assert (error.value.code, upstream.connections) == ("upstream_timeout", 1)
    assert (await complete(provider, ask("tokens")))[1].reason == "stop"
