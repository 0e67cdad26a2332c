"""The models of a process: found by name, counted, priced."""

import asyncio
from contextlib import aclosing

import pytest

from app.config import Settings
from app.kit.errors import Invalid
from app.llm.provider import (
    Attempt,
    ChatMessage,
    CompletionRequest,
    Finish,
    ProviderError,
    Served,
    TextDelta,
    ToolCall,
    Usage,
)
from app.llm.service import LanguageModels
from app.upstream_settings import Price
from tests.llm.conftest import MakeModels, ask, collect
from tests.upstream import Upstream, answer, chunk, events, refuse


async def test_echo_is_always_there() -> None:
    models = LanguageModels(Settings(_env_file=None))
    assert (models.names(), models.check("echo")) == (["echo"], "echo")
    models.admit("echo")
    assert await collect(models, ask("echo", "Hi there")) == [
        Served("echo", "echo"),
        TextDelta("Hi "),
        TextDelta("there"),
        Finish("stop", Usage(2, 2, 4)),
    ]
    await models.aclose()


async def test_name_and_model_are_split_at_the_first_colon(upstream: Upstream, models: LanguageModels) -> None:
    assert models.names() == ["echo", "fake", "spare"]
    assert models.check("spare:llama3:8b") == "spare"
    first, *_ = await collect(models, ask("spare:llama3:8b"))
    assert first == Served("spare:llama3:8b", "spare")
    assert upstream.requests[0].body["model"] == "llama3:8b"


@pytest.mark.parametrize("model", ["", "gpt", "fake", "fake:", ":x", "other:x", "echo:x", "Echo"])
async def test_an_unknown_model_is_refused_with_the_names_that_exist(models: LanguageModels, model: str) -> None:
    for use in (models.check, models.admit):
        with pytest.raises(Invalid) as refusal:
            use(model)
        [field] = refusal.value.members["fields"]
        assert field["field"] == "body.model"
        assert all(name in field["message"] for name in ("echo", "fake:<model>", "spare:<model>"))
    with pytest.raises(Invalid):
        await collect(models, ask(model))


async def test_served_comes_once_and_first_and_usage_is_the_upstreams(models: LanguageModels) -> None:
    assert await collect(models, ask("fake:tokens")) == [
        Served("fake:tokens", "fake"),
        *map(TextDelta, ("Hello", ", ", "world", "!")),
        Finish("stop", Usage(5, 4, 9)),
    ]


async def test_usage_that_is_not_reported_is_estimated(upstream: Upstream, models: LanguageModels) -> None:
    *_, finish = await collect(models, ask("fake:no-usage", "eight ch"))
    assert finish == Finish("stop", Usage(2, 4, 6, estimated=True))
    calls = (ToolCall("a", "f" * 8, "x" * 8),)
    tools = [{"type": "function", "function": {"name": "f"}}]  # 48 characters of JSON, 12 tokens
    messages = [ChatMessage("user", "你好"), ChatMessage("assistant", "", calls), ChatMessage("tool", "four", (), "a")]
    *_, finish = await collect(models, CompletionRequest("fake:no-usage", messages, tools=tools))
    assert isinstance(finish, Finish)
    assert finish.usage == Usage(2 + 4 + 1 + 12, 4, 23, estimated=True)


async def test_reasoning_and_tool_calls_count_in_an_estimate(models: LanguageModels) -> None:
    *_, finish = await collect(models, ask("fake:reasoning", ""))
    assert finish == Finish("stop", Usage(0, 5, 5, estimated=True), reasoning="Let me think.")


async def test_complete_gives_the_whole_text(upstream: Upstream, models: LanguageModels) -> None:
    assert await models.complete(ask("fake:tokens"), timeout=10) == "Hello, world!"
    upstream.script["refuse"] = refuse(400)
    with pytest.raises(ProviderError) as error:
        await models.complete(ask("fake:refuse"), timeout=10)
    assert error.value.attempts == (Attempt("fake:refuse", "fake", "upstream_rejected", error.value.message),)


async def test_complete_is_given_its_time_and_no_more(upstream: Upstream, models: LanguageModels) -> None:
    with pytest.raises(ProviderError) as error:
        await models.complete(ask("fake:stall-middle"), timeout=0.05)
    assert error.value.code == "upstream_timeout"
    assert error.value.message == "fake did not finish its answer within 0.05 s."
    await upstream.hung_up.acquire()


async def test_a_timeout_of_the_callers_own_stays_theirs(upstream: Upstream, models: LanguageModels) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await models.complete(ask("fake:stall-middle"), timeout=60)
    await upstream.hung_up.acquire()


async def test_leaving_early_closes_the_connection(upstream: Upstream, models: LanguageModels) -> None:
    async with aclosing(models.stream(ask("fake:stall-middle"))) as chunks:
        assert [await anext(chunks), await anext(chunks)] == [Served("fake:stall-middle", "fake"), TextDelta("Hel")]
    await upstream.hung_up.acquire()


async def test_an_answer_is_bounded_by_the_size_of_a_message(upstream: Upstream) -> None:
    provider = {"base_url": upstream.base_url}
    models = LanguageModels(
        Settings.model_validate({"_env_file": None, "llm_providers": {"local": provider}, "max_message_bytes": 3})
    )
    upstream.script["m"] = answer(["abc", "def"])
    _, delta, finish = await collect(models, ask("local:m"))
    assert (delta, finish) == (TextDelta("abc"), Finish("length", Usage(1, 1, 2, estimated=True)))
    await models.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await collect(models, ask("local:m"))


def test_costs_come_from_the_longest_name_that_matches(make_models: MakeModels) -> None:
    models = make_models(
        prices={
            "fake:*": Price(prompt=1, completion=2),
            "fake:big*": Price(prompt=10, completion=20),
            "fake:big-free": Price(prompt=0, completion=0),
            "spare:x": Price(prompt=0.5, completion=0),
        }
    )
    usage = Usage(1_000_000, 500_000, 1_500_000)
    costs = {
        model: models.cost(model, usage)
        for model in ("fake:m", "fake:big", "fake:big-1", "fake:big-free", "spare:x", "spare:x2", "echo")
    }
    assert costs == {
        "fake:m": 2.0,
        "fake:big": 20.0,
        "fake:big-1": 20.0,
        "fake:big-free": 0.0,
        "spare:x": 0.5,
        "spare:x2": None,
        "echo": None,
    }


async def test_connections_are_reused_over_a_thousand_calls(upstream: Upstream, models: LanguageModels) -> None:
    upstream.script["brief"] = events(chunk("Hi", finish="stop"), "[DONE]")

    async def calls() -> None:
        for _ in range(125):
            await models.complete(ask("fake:brief"), timeout=60)

    await asyncio.gather(*(calls() for _ in range(8)))
    assert len(upstream.requests) == 1000
    assert upstream.connections <= 10
