"""Turns on a real server that speaks OpenAI's dialect, well or badly."""

from typing import Any

import httpx
import pytest

from app.config import Settings
from tests.streams import joined, stream
from tests.turns.conftest import messages_of, new_conversation
from tests.upstream import TOKENS, Upstream, answer

pytestmark = pytest.mark.mongod

FAILURES = [
    ("stall-first", "", "upstream_timeout"),
    ("stall-middle", "Hel", "upstream_timeout"),
    ("cut-first", "", "upstream_cut"),
    ("cut-middle", "Hel", "upstream_cut"),
    ("ended-early", "Hel", "upstream_cut"),
    ("empty", "", "upstream_cut"),
    ("error-in-stream", "Hel", "upstream_failed"),
    ("429", "", "upstream_rate_limited"),
    ("500", "", "upstream_failed"),
    ("401", "", "upstream_rejected"),
    ("garbage", "", "upstream_invalid"),
    ("garbage-json", "", "upstream_invalid"),
    ("html", "", "upstream_invalid"),
    ("huge-line", "", "upstream_invalid"),
]
failures = pytest.mark.parametrize(("model", "text", "code"), FAILURES, ids=[model for model, *_ in FAILURES])


async def _assert_failed_and_going_on(client: httpx.AsyncClient, conversation: str, text: str, code: str) -> None:
    question, failed = await messages_of(client, conversation)
    assert (question["content"], question["status"]) == ("Hi", "complete")
    assert (failed["content"], failed["status"], failed["error"]["code"]) == (text, "failed", code)
    assert "sk-upstream" not in failed["error"]["message"]
    following = await client.post(f"{conversation}/turns", json={"content": "Again", "model": "local:tokens"})
    assert following.status_code == 201
    assert following.json()["assistant_message"]["seq"] == 4


@failures
async def test_a_failure_is_a_502_with_the_turn_and_the_next_turn_works(
    as_ana: httpx.AsyncClient, conversation: str, model: str, text: str, code: str
) -> None:
    response = await as_ana.post(f"{conversation}/turns", json={"content": "Hi", "model": f"hasty:{model}"})

    assert response.status_code == 502
    problem = response.json()
    assert (problem["code"], problem["reason"]) == ("upstream_failed", code)
    assert problem["turn"]["state"] == "failed"
    assert problem["turn"]["error"]["message"] == problem["detail"]
    assert problem["turn"] == (await as_ana.get(response.headers["location"])).json()
    await _assert_failed_and_going_on(as_ana, conversation, text, code)


@failures
async def test_a_failure_ends_the_stream_with_the_turn_and_the_next_turn_works(
    live_ana: httpx.AsyncClient, conversation: str, model: str, text: str, code: str
) -> None:
    events = await stream(live_ana, f"{conversation}/turns", {"content": "Hi", "model": f"hasty:{model}"})

    assert events[-1].event == "turn.failed"
    assert events[-1].data["error"]["code"] == code
    assert joined(events) == text
    await _assert_failed_and_going_on(live_ana, conversation, text, code)


async def test_history_prompt_and_sampling_reach_the_model(as_ana: httpx.AsyncClient, upstream: Upstream) -> None:
    path = await new_conversation(as_ana, system_prompt="Be brief.", model="local:tokens")
    sampling = {"temperature": 0.25, "top_p": 0.5, "max_tokens": 77}

    for content in ("first", "second 问题"):
        response = await as_ana.post(f"{path}/turns", json={"content": content, **sampling})
        assert response.status_code == 201

    received = upstream.requests[-1]
    assert received.headers["Authorization"] == "Bearer sk-upstream"
    assert received.body["model"] == "tokens"
    assert received.body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "".join(TOKENS)},
        {"role": "user", "content": "second 问题"},
    ]
    assert {name: received.body[name] for name in sampling} == sampling
    assert response.json()["usage"] == {"prompt": 5, "completion": 4, "total": 9}


async def test_parameters_that_were_not_given_are_not_sent(
    as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    await as_ana.post(f"{conversation}/turns", json={"content": "Hi", "model": "local:tokens"})

    assert not {"temperature", "top_p", "max_tokens"} & upstream.requests[-1].body.keys()


async def test_failed_and_empty_answers_are_not_sent_to_the_model(
    as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    upstream.script["silent"] = answer([])
    for model in ("hasty:cut-middle", "local:silent", "local:tokens"):
        await as_ana.post(f"{conversation}/turns", json={"content": model, "model": model})

    assert [message["content"] for message in upstream.requests[-1].body["messages"]] == [
        "hasty:cut-middle",
        "local:silent",
        "local:tokens",
    ]


class TestBudget:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"history_max_messages": 3, "history_max_tokens": 100})

    async def test_the_oldest_messages_are_left_out(
        self, as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
    ) -> None:
        await _append(as_ana, conversation, [("user" if n % 2 == 0 else "assistant", f"old {n}") for n in range(250)])

        await as_ana.post(f"{conversation}/turns", json={"content": "new", "model": "local:tokens"})

        assert [each["content"] for each in upstream.requests[-1].body["messages"]] == ["old 248", "old 249", "new"]

    async def test_long_messages_are_left_out(
        self, as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
    ) -> None:
        await _append(as_ana, conversation, [("user", "x" * 1000), ("user", "short")])

        await as_ana.post(f"{conversation}/turns", json={"content": "new", "model": "local:tokens"})

        assert [each["content"] for each in upstream.requests[-1].body["messages"]] == ["short", "new"]


async def _append(client: httpx.AsyncClient, conversation: str, messages: list[tuple[str, str]]) -> None:
    body: list[dict[str, Any]] = [{"role": role, "content": content} for role, content in messages]
    for start in range(0, len(body), 100):
        response = await client.post(f"{conversation}/messages/bulk", json={"messages": body[start : start + 100]})
        assert response.status_code == 201, response.text
