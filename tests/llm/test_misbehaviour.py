"""What comes out of the models, and how often the upstream is asked, when it misbehaves in the ways that happen."""

import asyncio
import tracemalloc
from typing import Any

import pytest
from aiohttp import web

from app.llm.provider import Finish, ProviderError, Served, TextDelta
from app.llm.service import LanguageModels
from app.llm.sse import MAX_EVENT_BYTES
from tests.llm.conftest import MakeModels, ask, collect, fail
from tests.upstream import SCRIPT, Exchange, Upstream, in_turn, refuse

HASTY: dict[str, Any] = {"first_token_timeout": 0.1, "idle_timeout": 0.1}

# Model, text, code of the error, attempts that failed before the first token, requests.
CASES: list[tuple[str, str, str, int, int]] = [
    ("stall-first", "", "upstream_timeout", 3, 3),
    ("stall-middle", "Hel", "upstream_timeout", 0, 1),
    ("cut-first", "", "upstream_cut", 3, 3),
    ("cut-middle", "Hel", "upstream_cut", 0, 1),
    ("ended-early", "Hel", "upstream_cut", 0, 1),
    ("429", "", "upstream_rate_limited", 3, 3),
    ("429-retry-after", "", "upstream_rate_limited", 1, 1),
    ("500", "", "upstream_failed", 3, 3),
    ("401", "", "upstream_rejected", 1, 1),
    ("garbage", "", "upstream_invalid", 1, 1),
    ("garbage-json", "", "upstream_invalid", 1, 1),
    ("html", "", "upstream_invalid", 1, 1),
    ("huge-line", "", "upstream_invalid", 1, 1),
    ("ten-megabytes", "", "upstream_invalid", 1, 1),
]


@pytest.mark.parametrize(("model", "text", "code", "attempts", "requests"), CASES)
async def test_an_answer_that_fails(
    upstream: Upstream, make_models: MakeModels, *, model: str, text: str, code: str, attempts: int, requests: int
) -> None:
    models = make_models(**HASTY, max_retry_wait=5)
    chunks, error = await fail(models, ask(f"fake:{model}"))
    expected = [Served(f"fake:{model}", "fake"), TextDelta(text)] if text else []
    assert (chunks, error.code) == (expected, code)
    assert [each.code for each in error.attempts] == [code] * attempts
    assert len(upstream.requests) == requests
    assert len(await collect(models, ask("fake:tokens"))) == 6  # the next question is answered as if nothing had been


async def test_who_limits_our_rate_is_asked_again_when_told(upstream: Upstream, models: LanguageModels) -> None:
    upstream.script["m"] = in_turn(refuse(429, retry_after="0.05"), refuse(429, retry_after="0.05"), SCRIPT["tokens"])
    started = asyncio.get_running_loop().time()
    served, *_ = await collect(models, ask("fake:m"))
    assert isinstance(served, Served)
    assert (len(served.attempts), len(upstream.requests)) == (2, 3)
    assert asyncio.get_running_loop().time() - started >= 0.1


async def test_an_upstream_that_limits_our_rate_is_not_taken_for_dead(
    upstream: Upstream, make_models: MakeModels
) -> None:
    models = make_models(max_retries=0, breaker_failures=2)
    for _ in range(5):
        assert (await fail(models, ask("fake:429")))[1].code == "upstream_rate_limited"
    models.admit("fake:tokens")
    assert len(upstream.requests) == 5


async def test_a_slow_drip_ends_with_the_total_time(upstream: Upstream, make_models: MakeModels) -> None:
    models = make_models(total_timeout=0.2)
    texts: list[str] = []

    async def listen() -> None:
        async for chunk in models.stream(ask("fake:endless")):
            if isinstance(chunk, TextDelta):
                texts.append(chunk.text)
                upstream.gate.release()

    with pytest.raises(ProviderError) as error:
        await listen()
    assert error.value.message == "fake did not finish its answer within 0.2 s."
    assert (set(texts), len(texts) > 1, len(upstream.requests)) == ({"more "}, True, 1)
    upstream.gate.release()
    await upstream.hung_up.acquire()


async def test_a_line_of_ten_megabytes_is_not_kept(upstream: Upstream, models: LanguageModels) -> None:
    packet = b"x" * 65536
    sent = 0

    async def behave(exchange: Exchange) -> web.StreamResponse:
        nonlocal sent
        response = await exchange.begin()
        await response.write(b"data: ")
        for _ in range(160):
            await response.write(packet)
            sent += len(packet)
        return response

    upstream.script["long"] = behave
    await collect(models, ask("fake:tokens"))
    tracemalloc.start()
    try:
        _, error = await fail(models, ask("fake:long"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    await upstream.hung_up.acquire()
    assert error.message == "fake sent an event that is too large."
    assert sent < 160 * len(packet)
    assert peak < 4 * MAX_EVENT_BYTES


async def test_a_client_that_leaves_stops_the_retries(upstream: Upstream, make_models: MakeModels) -> None:
    upstream.script["m"] = in_turn(refuse(429, retry_after="4"), SCRIPT["tokens"])
    call = asyncio.create_task(collect(make_models(), ask("fake:m")))
    await upstream.arrived.acquire()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert len(upstream.requests) == 1


async def test_a_server_that_is_not_there_is_left_alone_soon(make_models: MakeModels) -> None:
    models = make_models(base_url="http://127.0.0.1:9/v1", fallbacks={"fake:m": ["spare:tokens"]})
    seen = []
    for _ in range(3):
        served, *_, finish = await collect(models, ask("fake:m"))
        assert isinstance(served, Served)
        assert isinstance(finish, Finish)
        seen.append([each.code for each in served.attempts])
    assert seen == [["upstream_unreachable"] * 3, ["upstream_unreachable"] * 2, ["upstream_unavailable"]]
