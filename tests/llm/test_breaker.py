"""An upstream that is down is left alone, and found again."""

import asyncio

import pytest

from app.kit.errors import Unavailable
from app.llm.breaker import Breaker
from app.llm.provider import ErrorCode, ProviderError, Served
from tests.llm.conftest import MakeModels, ask, collect, fail
from tests.upstream import SCRIPT, Upstream, in_turn, refuse

DOWN = ProviderError("upstream_unreachable", "x")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(3, 30, clock)


def fail_times(breaker: Breaker, times: int, error: ProviderError = DOWN) -> None:
    for _ in range(times):
        breaker.failed(error, is_trial=breaker.enter())


def test_opens_after_so_many_failures_in_a_row(breaker: Breaker, clock: Clock) -> None:
    fail_times(breaker, 2)
    breaker.succeeded()
    fail_times(breaker, 2)
    assert breaker.wait() == 0
    fail_times(breaker, 1)
    clock.now = 10
    assert breaker.wait() == 20


def test_then_one_call_decides(breaker: Breaker, clock: Clock) -> None:
    fail_times(breaker, 3)
    clock.now = 30
    assert breaker.wait() == 0
    assert breaker.enter() is True
    assert breaker.wait() > 0
    breaker.failed(DOWN, is_trial=True)
    assert breaker.wait() == 30
    clock.now = 60
    assert breaker.enter() is True
    breaker.answered()
    assert (breaker.wait(), breaker.enter()) == (0, False)
    fail_times(breaker, 2)
    assert breaker.wait() == 0


def test_a_trial_that_was_left_is_made_again(breaker: Breaker, clock: Clock) -> None:
    fail_times(breaker, 3)
    clock.now = 30
    breaker.left(is_trial=breaker.enter())
    assert breaker.wait() == 0
    assert breaker.enter() is True


def test_failures_of_calls_from_before_do_not_prolong_it(breaker: Breaker, clock: Clock) -> None:
    fail_times(breaker, 3)
    clock.now = 20
    breaker.failed(DOWN, is_trial=False)
    assert breaker.wait() == 10


@pytest.mark.parametrize(
    ("code", "status", "opens"),
    [
        ("upstream_unreachable", None, True),
        ("upstream_timeout", None, True),
        ("upstream_cut", None, True),
        ("upstream_failed", None, True),
        ("upstream_failed", 503, True),
        ("upstream_timeout", 408, False),
        ("upstream_rate_limited", 429, False),
        ("upstream_rejected", 401, False),
        ("upstream_invalid", None, False),
    ],
)
def test_what_speaks_against_an_upstream(breaker: Breaker, code: ErrorCode, status: int | None, *, opens: bool) -> None:
    fail_times(breaker, 3, ProviderError(code, "x", status=status))
    assert (breaker.wait() > 0) == opens


async def test_an_open_circuit_fails_at_once(upstream: Upstream, make_models: MakeModels) -> None:
    models = make_models(max_retries=0, breaker_failures=2, fallbacks={"fake:x": ["spare:tokens"]})
    models.admit("fake:500")
    for _ in range(2):
        assert (await fail(models, ask("fake:500")))[1].code == "upstream_failed"
    _, error = await fail(models, ask("fake:tokens"))
    assert (error.code, len(upstream.requests)) == ("upstream_unavailable", 2)
    assert error.retry_after is not None
    assert 25 < error.retry_after <= 30
    with pytest.raises(Unavailable) as refusal:
        models.admit("fake:tokens")
    assert refusal.value.headers["Retry-After"] == "30"
    models.admit("fake:x")
    served, *_ = await collect(models, ask("fake:x"))
    assert isinstance(served, Served)
    assert [each.code for each in served.attempts] == ["upstream_unavailable"]


@pytest.mark.parametrize(("between", "opens"), [("tokens", False), ("401", False), ("cut-middle", True)])
async def test_only_failures_in_a_row_count(make_models: MakeModels, between: str, *, opens: bool) -> None:
    models = make_models(max_retries=0, breaker_failures=3)
    for model in ("500", "500"):
        await fail(models, ask(f"fake:{model}"))
    if between == "tokens":
        await collect(models, ask("fake:tokens"))
        await fail(models, ask("fake:500"))
    else:
        await fail(models, ask(f"fake:{between}"))
    _, error = await fail(models, ask("fake:500"))
    assert (error.code == "upstream_unavailable") == opens


async def test_a_call_stops_trying_when_the_circuit_opens(upstream: Upstream, make_models: MakeModels) -> None:
    models = make_models(max_retries=9, breaker_failures=3)
    _, error = await fail(models, ask("fake:500"))
    assert (error.code, len(error.attempts), len(upstream.requests)) == ("upstream_failed", 3, 3)


async def test_after_the_cooldown_the_upstream_is_found_again(upstream: Upstream, make_models: MakeModels) -> None:
    upstream.script["m"] = in_turn(refuse(500), SCRIPT["drip"])
    models = make_models(max_retries=0, breaker_failures=1, breaker_cooldown=0)
    await fail(models, ask("fake:m"))
    await upstream.arrived.acquire()
    trial = asyncio.create_task(collect(models, ask("fake:m")))
    await upstream.arrived.acquire()
    _, error = await fail(models, ask("fake:tokens"))
    assert error.code == "upstream_unavailable"
    for _ in range(4):
        upstream.gate.release()
    assert len(await trial) == 6
    assert len(await collect(models, ask("fake:tokens"))) == 6


async def test_a_cancelled_trial_lets_the_next_one_try(upstream: Upstream, make_models: MakeModels) -> None:
    models = make_models(max_retries=0, breaker_failures=1, breaker_cooldown=0)
    await fail(models, ask("fake:500"))
    await upstream.arrived.acquire()
    trial = asyncio.create_task(collect(models, ask("fake:stall-first")))
    await upstream.arrived.acquire()
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    assert len(await collect(models, ask("fake:tokens"))) == 6


async def test_providers_do_not_share_a_circuit(make_models: MakeModels) -> None:
    models = make_models(max_retries=0, breaker_failures=1)
    await fail(models, ask("fake:500"))
    models.admit("spare:tokens")
    assert len(await collect(models, ask("spare:tokens"))) == 6
