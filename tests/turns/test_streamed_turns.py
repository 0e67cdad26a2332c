"""A turn as server-sent events, through a real server."""

import asyncio
import logging

import httpx
import pytest
from fastapi import FastAPI

from app.services import Services
from tests.streams import events_of, joined, stream, streaming
from tests.turns.conftest import ended, logged_text, messages_of
from tests.upstream import TOKENS, Upstream, answer

pytestmark = pytest.mark.mongod

FAMILY = "👩‍👩‍👧‍👦🇨🇳é̂"


@pytest.mark.parametrize(
    "content",
    [
        "Hello, world!",
        "恋恋笔记本，今天天气很好。",
        FAMILY * 30,
        "\n\nlines\nand\r\nmore\rlines\u2028here\u2029\x0b\x85\ttabs  ",
        "data: not an event\n\nevent: delta\n\n",
        "中文 and words " * 11_000,
    ],
    ids=["words", "chinese", "emoji", "lines", "events", "200 kB"],
)
async def test_the_joined_deltas_are_the_stored_answer(
    live_ana: httpx.AsyncClient, conversation: str, content: str
) -> None:
    events = await stream(live_ana, f"{conversation}/turns", {"content": content})

    assert [events[0].event, events[-1].event] == ["turn.started", "turn.completed"]
    assert {event.event for event in events[1:-1]} == {"delta"}
    question, stored = await messages_of(live_ana, conversation)
    assert joined(events) == stored["content"] == content
    assert question["content"] == content
    assert await logged_text() == content


async def test_the_first_event_is_the_turn_so_far_and_the_last_one_the_turn(
    live_ana: httpx.AsyncClient, conversation: str
) -> None:
    events = await stream(live_ana, f"{conversation}/turns", {"content": "Hello"})

    started, completed = events[0].data, events[-1].data
    assert started["state"] == "running"
    assert started["assistant_message"]["status"] == "streaming"
    assert completed == (await live_ana.get(f"/api/turns/{started['id']}")).json()
    assert completed["assistant_message"]["status"] == "complete"


async def test_the_accept_header_asks_for_a_stream_too(live_ana: httpx.AsyncClient, conversation: str) -> None:
    headers = {"Accept": "text/event-stream"}
    response = await live_ana.post(f"{conversation}/turns", json={"content": "Hello"}, headers=headers)

    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert response.text.startswith("id: 1\nevent: turn.started\n")


async def test_a_word_is_in_the_database_when_a_client_sees_it(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    words = [f"word{number} " for number in range(25)]
    upstream.script["words"] = answer(words, paced=True)
    seen = ""
    async with streaming(live_ana, f"{conversation}/turns", {"content": "Hi", "model": "local:words"}) as response:
        async for event in events_of(response):
            if event.event == "delta":
                seen += event.data["text"]
                assert (await logged_text()).startswith(seen)
            upstream.gate.release()

    assert seen == "".join(words)


async def test_a_word_is_sent_before_the_next_one_is_there(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    async with streaming(live_ana, f"{conversation}/turns", {"content": "Hi", "model": "local:drip"}) as response:
        events = events_of(response)
        assert (await anext(events)).event == "turn.started"
        for token in TOKENS:
            upstream.gate.release()
            assert (await anext(events)).data == {"text": token}
        assert (await anext(events)).event == "turn.completed"


async def test_a_client_that_leaves_does_not_stop_the_turn(
    live_ana: httpx.AsyncClient,
    conversation: str,
    upstream: Upstream,
    services: Services,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with streaming(live_ana, f"{conversation}/turns", {"content": "Hi", "model": "local:drip"}) as response:
        events = events_of(response)
        await anext(events)
        upstream.gate.release()
        assert joined([await anext(events)]) == TOKENS[0]
    for _ in TOKENS[1:]:
        upstream.gate.release()

    turn = await ended(services, response.headers["location"])

    assert turn["state"] == "completed"
    assert (await messages_of(live_ana, conversation))[1]["content"] == "".join(TOKENS)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_client_that_leaves_leaves_nothing_behind(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream, services: Services
) -> None:
    before = set(asyncio.all_tasks())
    for _ in range(5):
        async with streaming(live_ana, f"{conversation}/turns", {"content": "Hi", "model": "local:drip"}) as response:
            await anext(events_of(response))
        for _ in TOKENS:
            upstream.gate.release()
        await ended(services, response.headers["location"])
    async with asyncio.timeout(5):
        while left := [task for task in asyncio.all_tasks() - before if "Drain.wait" in repr(task)]:
            await asyncio.wait(left)

    assert left == []


async def test_open_streams_are_told_to_reconnect_when_the_server_stops(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream, app: FastAPI, services: Services
) -> None:
    async with streaming(live_ana, f"{conversation}/turns", {"content": "Hi", "model": "local:drip"}) as response:
        events = events_of(response)
        await anext(events)
        app.state.drain.start()
        rest = [event async for event in events]
    for _ in TOKENS:
        upstream.gate.release()

    assert [event.event for event in rest] == ["reconnect"]
    assert (await ended(services, response.headers["location"]))["state"] == "completed"


async def test_a_turn_that_outlasts_the_drain_is_interrupted_and_answered(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream, app: FastAPI
) -> None:
    body = {"content": "Hi", "model": "local:drip"}
    waiting = asyncio.create_task(live_ana.post(f"{conversation}/turns", json=body))
    upstream.gate.release()
    await upstream.arrived.acquire()
    app.state.drain.start()

    response = await waiting

    assert response.status_code == 503
    assert response.json()["reason"] == "server_stopped"
    assert response.json()["turn"]["state"] == "interrupted"
    question, stored = await messages_of(live_ana, conversation)
    assert question["status"] == "complete"
    assert (stored["status"], stored["content"]) == ("interrupted", TOKENS[0])
