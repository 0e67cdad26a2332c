"""Event streams: encoded as they come, kept alive without losing an event, and closed with their reader or server."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI

from app.kit.streaming import Drain, ServerSentEvent, event_stream
from tests.sources import QueuedEvents


@pytest.fixture
def source(app: FastAPI) -> QueuedEvents:
    source = QueuedEvents()

    async def stream(keep_alive: float = 15) -> object:
        drain: Drain = app.state.drain
        return event_stream(source, drain, keep_alive=keep_alive)

    app.add_api_route("/stream", stream, response_model=None)
    return source


def event(number: int, text: str) -> ServerSentEvent:
    return ServerSentEvent(number, "delta", {"text": text})


def delta(number: int, text: str) -> str:
    return f'id: {number}\nevent: delta\ndata: {{"text":"{text}"}}\n\n'


async def test_events_come_numbered_and_the_stream_ends_with_them(
    live_ana: httpx.AsyncClient, source: QueuedEvents
) -> None:
    for item in (event(1, "a"), event(2, "恋"), None):
        source.queue.put_nowait(item)

    response = await live_ana.get("/stream")

    assert response.text == delta(1, "a") + delta(2, "恋")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    assert source.closed.is_set()


async def test_keep_alive_does_not_lose_the_event_it_waits_for(
    live_ana: httpx.AsyncClient, source: QueuedEvents
) -> None:
    async with live_ana.stream("GET", "/stream", params={"keep_alive": 0.01}) as response:
        pieces = response.aiter_text()
        assert [(await anext(pieces)).count(": keep-alive\n\n") > 0 for _ in range(3)] == [True] * 3
        source.queue.put_nowait(event(1, "late"))
        source.queue.put_nowait(None)
        rest = "".join([piece async for piece in pieces])

    assert rest.replace(": keep-alive\n\n", "") == delta(1, "late")


async def test_a_drain_tells_the_reader_to_reconnect_and_ends(
    app: FastAPI, live_ana: httpx.AsyncClient, source: QueuedEvents
) -> None:
    async with live_ana.stream("GET", "/stream") as response:
        source.queue.put_nowait(event(1, "a"))
        pieces = response.aiter_text()
        assert await anext(pieces) == delta(1, "a")
        app.state.drain.start()
        rest = "".join([piece async for piece in pieces])

    assert rest == "event: reconnect\nretry: 1000\ndata: {}\n\n"
    await asyncio.wait_for(source.closed.wait(), 5)


async def test_a_reader_that_leaves_closes_the_events(live_ana: httpx.AsyncClient, source: QueuedEvents) -> None:
    async with live_ana.stream("GET", "/stream"):
        await asyncio.wait_for(source.waiting.wait(), 5)

    await asyncio.wait_for(source.closed.wait(), 5)


async def test_a_fault_in_the_events_breaks_the_stream_off(live_ana: httpx.AsyncClient, source: QueuedEvents) -> None:
    source.queue.put_nowait(event(1, "a"))
    source.queue.put_nowait(RuntimeError("midway"))

    with pytest.raises(httpx.RemoteProtocolError):
        await live_ana.get("/stream")

    assert source.closed.is_set()
