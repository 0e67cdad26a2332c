"""What fails before its first token is tried again, elsewhere at last; what fails later is not."""

import asyncio
from collections.abc import Sequence

import pytest

from app.llm.provider import Attempt, Finish, ProviderError, Served, TextDelta
from app.llm.retries import MAX_BACKOFF, wait_before_retry
from app.llm.service import LanguageModels
from app.upstream_settings import ProviderSettings
from tests.llm.conftest import MakeModels, ask, collect, fail
from tests.upstream import SCRIPT, Behaviour, Upstream, chunk, cut, events, in_turn, raw, refuse, stall

OK = SCRIPT["tokens"]


def codes(attempts: Sequence[Attempt]) -> list[tuple[str, str]]:
    return [(each.model, each.code) for each in attempts]


BRIEF: dict[str, tuple[Behaviour, str]] = {
    "408": (refuse(408), "upstream_timeout"),
    "429": (refuse(429), "upstream_rate_limited"),
    "429 with a time": (refuse(429, retry_after="0"), "upstream_rate_limited"),
    "500": (refuse(500), "upstream_failed"),
    "503": (refuse(503), "upstream_failed"),
    "cut before the status": (cut(), "upstream_cut"),
    "cut before a token": (cut(chunk("", role="assistant")), "upstream_cut"),
    "nothing": (events(), "upstream_cut"),
    "an error in the stream": (events({"error": {"message": "busy", "code": 503}}), "upstream_failed"),
    "silence": (stall(), "upstream_timeout"),
}


@pytest.mark.parametrize("name", BRIEF)
async def test_a_failure_before_the_first_token_is_tried_again(
    upstream: Upstream, make_models: MakeModels, name: str
) -> None:
    failure, code = BRIEF[name]
    upstream.script["m"] = in_turn(failure, failure, OK)
    models = make_models(first_token_timeout=0.1 if name == "silence" else 60)
    served, *deltas, finish = await collect(models, ask("fake:m"))
    assert isinstance(served, Served)
    assert codes(served.attempts) == [("fake:m", code)] * 2
    assert (len(deltas), isinstance(finish, Finish), len(upstream.requests)) == (4, True, 3)


async def test_retries_are_counted_and_each_is_told(upstream: Upstream, make_models: MakeModels) -> None:
    chunks, error = await fail(make_models(max_retries=3), ask("fake:500"))
    assert (chunks, error.code, len(upstream.requests)) == ([], "upstream_failed", 4)
    assert error.attempts == (Attempt("fake:500", "fake", "upstream_failed", error.message),) * 4
    _, error = await fail(make_models(max_retries=0), ask("fake:500"))
    assert (len(error.attempts), len(upstream.requests)) == (1, 5)


@pytest.mark.parametrize("model", ["401", "garbage", "html", "huge-line"])
async def test_what_would_fail_again_is_not_tried_again(upstream: Upstream, models: LanguageModels, model: str) -> None:
    chunks, error = await fail(models, ask(f"fake:{model}"))
    assert (chunks, error.retryable, len(error.attempts), len(upstream.requests)) == ([], False, 1, 1)


@pytest.mark.parametrize("model", ["cut-middle", "ended-early", "error-in-stream"])
async def test_behind_the_first_token_nothing_is_tried_again(
    upstream: Upstream, make_models: MakeModels, model: str
) -> None:
    models = make_models(fallbacks={f"fake:{model}": ["spare:tokens"]})
    chunks, error = await fail(models, ask(f"fake:{model}"))
    assert chunks == [Served(f"fake:{model}", "fake"), TextDelta("Hel")]
    assert (error.has_begun, error.attempts, len(upstream.requests)) == (True, (), 1)


async def test_reasoning_is_a_token(upstream: Upstream, make_models: MakeModels) -> None:
    models = make_models(fallbacks={"fake:cut-thinking": ["spare:tokens"]})
    chunks, error = await fail(models, ask("fake:cut-thinking"))
    assert (chunks, error.code, error.attempts, len(upstream.requests)) == ([], "upstream_cut", (), 1)


async def test_attempts_before_an_answer_that_fails_are_kept(upstream: Upstream, models: LanguageModels) -> None:
    upstream.script["m"] = in_turn(refuse(500), cut(chunk("Hel")))
    [served, _], error = await fail(models, ask("fake:m"))
    assert isinstance(served, Served)
    assert codes(served.attempts) == codes(error.attempts) == [("fake:m", "upstream_failed")]


async def test_a_wait_that_is_too_long_is_left_to_the_caller(upstream: Upstream, make_models: MakeModels) -> None:
    upstream.script["m"] = refuse(429, retry_after="7")
    _, error = await fail(make_models(max_retry_wait=6), ask("fake:m"))
    assert (error.retry_after, len(upstream.requests)) == (7.0, 1)
    _, error = await fail(make_models(total_timeout=5), ask("fake:m"))
    assert (error.retry_after, len(upstream.requests)) == (7.0, 2)


async def test_an_upstream_that_says_when_is_asked_then(upstream: Upstream, models: LanguageModels) -> None:
    upstream.script["m"] = in_turn(refuse(429, retry_after_ms="80"), OK)
    started = asyncio.get_running_loop().time()
    assert len(await collect(models, ask("fake:m"))) == 6
    assert asyncio.get_running_loop().time() - started >= 0.08


async def test_the_total_time_is_that_of_all_attempts(upstream: Upstream, make_models: MakeModels) -> None:
    models = make_models(first_token_timeout=0.2, total_timeout=0.5, max_retries=9)
    _, error = await fail(models, ask("fake:stall-first"))
    assert [each.message for each in error.attempts] == [
        "fake sent no first token within 0.2 s.",
        "fake sent no first token within 0.2 s.",
        "fake did not finish its answer within 0.5 s.",
    ]
    assert len(upstream.requests) == 3


async def test_a_fallback_for_which_no_time_is_left_is_not_blamed(upstream: Upstream, make_models: MakeModels) -> None:
    models = make_models(
        fallbacks={"fake:stall-first": ["spare:tokens"]},
        first_token_timeout=0.1,
        max_retries=0,
        spare={"total_timeout": 0.05, "breaker_failures": 1},
    )
    _, error = await fail(models, ask("fake:stall-first"))
    assert codes(error.attempts) == [("fake:stall-first", "upstream_timeout"), ("spare:tokens", "upstream_timeout")]
    assert len(upstream.requests) == 1
    assert len(await collect(models, ask("spare:tokens"))) == 6


def test_waits_grow_and_are_bounded() -> None:
    error = ProviderError("upstream_failed", "x")
    settings = ProviderSettings(base_url="http://x", max_retries=20)

    def longest(number: int) -> float:
        waits = [wait_before_retry(number, error, settings, left=100) for _ in range(300)]
        assert None not in waits
        return max(wait for wait in waits if wait is not None)

    assert 0.4 < longest(0) <= 0.5
    assert 1.5 < longest(2) <= 2.0
    assert 0.8 * MAX_BACKOFF < longest(15) <= MAX_BACKOFF


async def test_a_fallback_answers(upstream: Upstream, make_models: MakeModels) -> None:
    models = make_models(fallbacks={"fake:500": ["spare:429", "spare:tokens"]}, max_retries=1, spare={"max_retries": 0})
    served, *_ = await collect(models, ask("fake:500"))
    assert isinstance(served, Served)
    assert (served.model, served.provider) == ("spare:tokens", "spare")
    assert codes(served.attempts) == [
        ("fake:500", "upstream_failed"),
        ("fake:500", "upstream_failed"),
        ("spare:429", "upstream_rate_limited"),
    ]
    assert [each.body["model"] for each in upstream.requests] == ["500", "500", "429", "tokens"]


async def test_echo_can_be_the_last_resort(make_models: MakeModels) -> None:
    served, delta, _ = await collect(make_models(fallbacks={"fake:500": ["echo"]}), ask("fake:500"))
    assert isinstance(served, Served)
    assert (served.model, delta) == ("echo", TextDelta("Hi"))


async def test_without_an_answer_the_last_error_tells_all_attempts(make_models: MakeModels) -> None:
    models = make_models(fallbacks={"fake:500": ["spare:429-retry-after"]}, max_retries=0, spare={"max_retry_wait": 1})
    _, error = await fail(models, ask("fake:500"))
    assert (error.code, error.retry_after) == ("upstream_rate_limited", 7.0)
    assert codes(error.attempts) == [
        ("fake:500", "upstream_failed"),
        ("spare:429-retry-after", "upstream_rate_limited"),
    ]


@pytest.mark.parametrize(("status", "answers"), [(401, True), (403, True), (404, True), (400, False), (413, False)])
async def test_a_request_that_is_refused_is_refused_by_all(
    upstream: Upstream, make_models: MakeModels, *, status: int, answers: bool
) -> None:
    upstream.script["m"] = refuse(status)
    models = make_models(fallbacks={"fake:m": ["spare:tokens"]})
    if answers:
        assert len(await collect(models, ask("fake:m"))) == 6
    else:
        assert (await fail(models, ask("fake:m")))[1].status == status
    assert len(upstream.requests) == 1 + answers


async def test_an_upstream_that_answers_nonsense_is_replaced(upstream: Upstream, make_models: MakeModels) -> None:
    upstream.script["m"] = raw(b"<html>", content_type="text/html")
    models = make_models(fallbacks={"fake:m": ["spare:tokens"]})
    served, *_ = await collect(models, ask("fake:m"))
    assert isinstance(served, Served)
    assert codes(served.attempts) == [("fake:m", "upstream_invalid")]
