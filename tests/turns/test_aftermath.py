"""Suggested questions and titles: small calls behind an answer, which they can never break."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.config import Settings
from app.turns import aftermath
from app.turns.aftermath import read_suggestions, read_title
from app.upstream_settings import ProviderSettings
from tests.conftest import DATABASE, Person, client_of
from tests.streams import joined, stream
from tests.turns.conftest import messages_of, new_conversation
from tests.upstream import TOKENS, Behaviour, Upstream, answer, chunk, cut, raw, refuse, stall

pytestmark = pytest.mark.mongod

ASK = {"content": "Hi", "model": "local:tokens", "suggestions": True}
QUESTIONS = ["Why?", "How 怎么?", "And then?"]


@pytest.fixture
def settings(tmp_path: Path, upstream: Upstream) -> Settings:
    provider = ProviderSettings(base_url=upstream.base_url, max_retries=0, breaker_failures=1000)
    return Settings(
        _env_file=None,
        data=tmp_path,
        database=DATABASE,
        drain_timeout=1,
        turn_lease=1,
        llm_providers={"local": provider},
        helper_model="local:helper",
    )


async def test_suggestions_come_with_the_end(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    upstream.script["helper"] = answer(['["Why?", "How 怎么?",', ' "And then?"]'])

    told = await stream(live_ana, f"{conversation}/turns", ASK)

    assert told[-1].data["suggestions"] == QUESTIONS
    assert told[-1].data == (await live_ana.get(f"/api/turns/{told[-1].data['id']}")).json()
    assert joined(told) == "".join(TOKENS)
    asked = upstream.requests[-1].body
    assert asked["model"] == "helper"
    assert [message["content"] for message in asked["messages"][:2]] == ["Hi", "".join(TOKENS)]
    assert len(await messages_of(live_ana, conversation)) == 2


async def test_suggestions_are_not_asked_for_unasked(
    as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    turn = (await as_ana.post(f"{conversation}/turns", json={**ASK, "suggestions": False})).json()

    assert turn["suggestions"] is None
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "behaviour",
    [
        refuse(500),
        cut(),
        stall(),
        raw(b"garbage"),
        answer(["no list"]),
        answer(["[1, {}]"]),
        answer(["[" * 5000]),
        answer(['["\\ud83d"]']),
    ],
    ids=["500", "cut", "stall", "garbage", "no list", "no texts", "deep", "surrogate"],
)
async def test_suggestions_that_fail_break_nothing(
    live_ana: httpx.AsyncClient,
    conversation: str,
    upstream: Upstream,
    behaviour: Behaviour,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aftermath, "SECONDS", 0.3)
    upstream.script["helper"] = behaviour

    told = await stream(live_ana, f"{conversation}/turns", ASK)

    assert told[-1].event == "turn.completed"
    assert told[-1].data["suggestions"] in (None, [], ["\ufffd"])
    assert told[-1].data["assistant_message"]["content"] == joined(told) == "".join(TOKENS)
    assert (await live_ana.post(f"{conversation}/turns", json={**ASK, "suggestions": False})).status_code == 201


async def test_the_conversation_is_free_while_suggestions_are_thought_of(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    upstream.script["helper"] = answer(['["Why?"]'], paced=True)
    first = asyncio.create_task(live_ana.post(f"{conversation}/turns", json=ASK))
    for _ in range(2):
        await upstream.arrived.acquire()

    second = await live_ana.post(f"{conversation}/turns", json={**ASK, "suggestions": False})
    upstream.gate.release()

    assert second.status_code == 201
    assert (await first).json()["suggestions"] == ["Why?"]


async def test_what_suggestions_use_is_on_the_account_of_who_asked(
    as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    upstream.script["helper"] = answer(['["Why?"]'])
    turn = (await as_ana.post(f"{conversation}/turns", json={**ASK, "suggestions": False})).json()
    plain = await tokens_of(as_ana)

    await as_ana.post(f"{conversation}/turns", json=ASK)

    day = (await as_ana.get("/api/users/me/usage")).json()["user"]["day"]
    assert plain == turn["usage"]["total"]
    assert day["tokens"] > 2 * plain
    assert day["turns"] == 2


async def test_suggestions_that_fail_are_paid_for_as_far_as_they_came(
    as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    upstream.script["helper"] = cut(chunk('["Wh'))

    turn = (await as_ana.post(f"{conversation}/turns", json=ASK)).json()

    assert turn["suggestions"] is None
    assert await tokens_of(as_ana) > turn["usage"]["total"]


async def test_nothing_is_suggested_to_whom_nothing_is_left(
    app: FastAPI, as_ana: httpx.AsyncClient, ana: Person, conversation: str, upstream: Upstream
) -> None:
    upstream.script["helper"] = answer(['["Why?"]'])
    free = (await as_ana.post(f"{conversation}/turns", json={**ASK, "suggestions": False})).json()
    key = {"name": "bounded", "quota": {"tokens_per_day": free["usage"]["total"] + 1}}
    made = (await as_ana.post("/api/keys", json=key)).json()["key"]
    asked = len(upstream.requests)
    async with client_of(app, Person(ana.id, ana.email, made)) as client:
        path = await new_conversation(client)
        turn = (await client.post(f"{path}/turns", json=ASK)).json()
        again = await client.post(f"{path}/turns", json=ASK)

    assert (turn["state"], turn["suggestions"]) == ("completed", None)
    assert (again.status_code, again.json()["code"]) == (429, "quota_exceeded")
    assert len(upstream.requests) - asked == 2  # the helper was stopped at its first words, which are counted


async def tokens_of(client: httpx.AsyncClient) -> int:
    return int((await client.get("/api/users/me/usage")).json()["user"]["day"]["tokens"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["a", "b"]', ["a", "b"]),
        ('Sure!\n```json\n["a\\n b"]\n```', ["a b"]),
        ('["' + "x" * 999 + '"]', ["x" * aftermath.MAX_SUGGESTION_CHARACTERS]),
        (str([str(number) for number in range(9)]).replace("'", '"'), ["0", "1", "2", "3", "4"]),
        ("", []),
        ("]", []),
        ("[]", []),
        ('{"a": ["b"]}', ["b"]),
    ],
)
def test_reading_suggestions(text: str, expected: list[str]) -> None:
    assert read_suggestions(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"Weather in 上海"', "Weather in 上海"),
        ("Title\nand more", "Title"),
        ("**Bold**", "Bold"),
        ("x" * 200, "x" * aftermath.MAX_TITLE_CHARACTERS),
        ("", ""),
        ("\n\n", ""),
    ],
)
def test_reading_titles(text: str, expected: str) -> None:
    assert read_title(text) == expected


class TestTitles:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"auto_titles": True})

    async def titled(self, client: httpx.AsyncClient, conversation: str) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while not (found := (await client.get(conversation)).json())["title"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        row: dict[str, Any] = found
        return row

    async def test_a_conversation_without_a_title_gets_one(
        self, as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
    ) -> None:
        upstream.script["helper"] = answer(['"A ', 'greeting"'])

        await as_ana.post(f"{conversation}/turns", json={"content": "Hi", "model": "local:tokens"})

        assert (await self.titled(as_ana, conversation))["title"] == "A greeting"
        await as_ana.post(f"{conversation}/turns", json={"content": "Hi", "model": "local:tokens"})
        assert len(upstream.requests) == 3

    async def test_a_title_that_was_given_stays(self, as_ana: httpx.AsyncClient, upstream: Upstream) -> None:
        path = await new_conversation(as_ana, title="Mine")

        await as_ana.post(f"{path}/turns", json={"content": "Hi", "model": "local:tokens"})

        assert (await as_ana.get(path)).json()["title"] == "Mine"
        assert len(upstream.requests) == 1

    async def test_a_title_that_was_given_meanwhile_stays(
        self, as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
    ) -> None:
        upstream.script["helper"] = answer(["Late"], paced=True)
        await as_ana.post(f"{conversation}/turns", json={"content": "Hi", "model": "local:tokens"})
        for _ in range(2):
            await upstream.arrived.acquire()
        await as_ana.patch(conversation, json={"title": "Mine"})

        upstream.gate.release()

        assert (await self.titled(as_ana, conversation))["title"] == "Mine"

    async def test_a_title_that_fails_breaks_nothing(
        self, as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
    ) -> None:
        upstream.script["helper"] = refuse(500)

        response = await as_ana.post(f"{conversation}/turns", json={"content": "Hi", "model": "local:tokens"})

        assert response.status_code == 201
        for _ in range(2):
            await upstream.arrived.acquire()
        assert (await as_ana.get(conversation)).json()["title"] == ""
