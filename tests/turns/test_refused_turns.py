"""Every refusal comes before anything is stored or sent."""

import asyncio
from typing import Any

import httpx
import pytest
from bson import ObjectId
from fastapi import FastAPI

from app.kit.repository import Scope
from app.services import Services
from tests.streams import streaming
from tests.turns.conftest import messages_of, stored_turns
from tests.upstream import TOKENS, Upstream


async def test_nobody_is_refused(anonymous: httpx.AsyncClient, conversation: str) -> None:
    response = await anonymous.post(f"{conversation}/turns", json={"content": "Hi"})

    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")


async def test_somebody_elses_conversation_is_not_there(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, conversation: str
) -> None:
    for body in ({"content": "Hi"}, {"content": "Hi", "stream": True}):
        response = await as_ben.post(f"{conversation}/turns", json=body)
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"
    assert await messages_of(as_ana, conversation) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.content"),
        ({"content": ""}, "body.content"),
        ({"content": 1}, "body.content"),
        ({"content": "é" * (512 * 1024) + "."}, "body.content"),
        ({"content": "Hi", "model": "no-such-model"}, "body.model"),
        ({"content": "Hi", "model": "local:"}, "body.model"),
        ({"content": "Hi", "temperature": 2.5}, "body.temperature"),
        ({"content": "Hi", "temperature": True}, "body.temperature"),
        ({"content": "Hi", "top_p": "1"}, "body.top_p"),
        ({"content": "Hi", "top_p": 0}, "body.top_p"),
        ({"content": "Hi", "max_tokens": 0}, "body.max_tokens"),
        ({"content": "Hi", "stream": "yes"}, "body.stream"),
        ({"content": "Hi", "metadata": {"a": 1}}, "body.metadata.a"),
        ({"content": "Hi", "role": "system"}, "body.role"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_wrong_field_is_named_and_nothing_is_stored(
    as_ana: httpx.AsyncClient, conversation: str, body: dict[str, Any], field: str, stream: bool
) -> None:
    response = await as_ana.post(f"{conversation}/turns", json={"stream": stream, **body})

    assert response.status_code == 422
    assert [each["field"] for each in response.json()["fields"]] == [field]
    assert await messages_of(as_ana, conversation) == []
    assert await stored_turns() == []


@pytest.mark.mongod
@pytest.mark.parametrize("stream", [False, True])
async def test_a_busy_conversation_answers_409_with_the_turn_that_runs(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream, stream: bool
) -> None:
    async with streaming(live_ana, f"{conversation}/turns", {"content": "Hi", "model": "local:drip"}) as running:
        busy = await live_ana.post(f"{conversation}/turns", json={"content": "And I?", "stream": stream})

        assert busy.status_code == 409
        assert busy.json()["code"] == "turn_in_progress"
        assert busy.headers["location"] == busy.json()["turn"] == running.headers["location"]
        assert (await live_ana.get(busy.headers["location"])).json()["state"] == "running"
        for _ in TOKENS:
            upstream.gate.release()
        await running.aread()
    after = await live_ana.post(f"{conversation}/turns", json={"content": "And I?"})
    assert after.status_code == 201


@pytest.mark.mongod
async def test_of_many_turns_at_once_exactly_one_runs(
    as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    body = {"content": "Hi", "model": "local:drip"}
    posts = [asyncio.create_task(as_ana.post(f"{conversation}/turns", json=body)) for _ in range(10)]
    _, waiting = await asyncio.wait(posts, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    while len(waiting) > 1:
        _, waiting = await asyncio.wait(waiting, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    for _ in TOKENS:
        upstream.gate.release()

    statuses = sorted([response.status_code for response in await asyncio.gather(*posts)])

    assert statuses == [201] + [409] * 9
    assert len(upstream.requests) == 1
    assert [message["seq"] for message in await messages_of(as_ana, conversation)] == [1, 2]


@pytest.mark.mongod
async def test_a_turn_that_is_overtaken_by_another_one_answers_409(
    live_ana: httpx.AsyncClient,
    conversation: str,
    upstream: Upstream,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = services.conversations.rows
    looked = rows.active_turn
    free_once = [None]  # between two attempts the conversation is free, and then it is taken again

    async def active_turn(scope: Scope, id: ObjectId) -> tuple[ObjectId, int] | None:
        return free_once.pop() if free_once else await looked(scope, id)

    async with streaming(live_ana, f"{conversation}/turns", {"content": "Hi", "model": "local:drip"}) as running:
        monkeypatch.setattr(rows, "active_turn", active_turn)
        response = await live_ana.post(f"{conversation}/turns", json={"content": "And I?"})
        assert response.status_code == 409
        for _ in TOKENS:
            upstream.gate.release()
        await running.aread()


@pytest.mark.mongod
async def test_a_turn_and_appends_at_once_keep_the_numbers_gapless(
    as_ana: httpx.AsyncClient, conversation: str
) -> None:
    append = {"role": "user", "content": "note"}
    responses = await asyncio.gather(
        as_ana.post(f"{conversation}/turns", json={"content": "Hi"}),
        *(as_ana.post(f"{conversation}/messages", json=append) for _ in range(10)),
    )

    assert {response.status_code for response in responses} == {201}
    assert [message["seq"] for message in await messages_of(as_ana, conversation)] == list(range(1, 13))


async def test_a_server_that_is_stopping_takes_no_turns(
    app: FastAPI, as_ana: httpx.AsyncClient, conversation: str
) -> None:
    app.state.drain.start()

    response = await as_ana.post(f"{conversation}/turns", json={"content": "Hi"})

    assert response.status_code == 503
    assert response.json()["code"] == "unavailable"
    assert int(response.headers["retry-after"]) >= 1
    assert await messages_of(as_ana, conversation) == []
