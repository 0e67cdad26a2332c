"""`verbatim serve` is told to stop while it answers."""

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from bson import ObjectId
from pymongo.asynchronous.collection import AsyncCollection

from tests.mongod.processes import end, find_mongod_process, was_clean
from tests.processes import ADMIN_KEY, ServerProcess
from tests.streams import Received, events_of, streaming
from tests.turns.conftest import new_conversation
from tests.upstream import TOKENS, Upstream

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

Transcripts = AsyncCollection[dict[str, Any]]

DRIP = {"content": "Hi", "model": "local:drip"}


async def _rest_after(events: Any, act: Any) -> list[Received]:
    act()
    return [event async for event in events]


async def _stored_answer(transcripts: Transcripts, conversation: str) -> dict[str, Any]:
    row = await transcripts.find_one({"conversation_id": ObjectId(conversation.rpartition("/")[2]), "seq": 2})
    assert row is not None
    return row


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stream_is_told_to_reconnect_and_the_turn_is_interrupted_at_the_deadline(
    tmp_path: Path, shared: dict[str, Any], transcripts: Transcripts, upstream: Upstream, number: signal.Signals
) -> None:
    async with ServerProcess(tmp_path, drain_timeout=1, **shared) as server, server.client() as client:
        conversation = await new_conversation(client)
        async with streaming(client, f"{conversation}/turns", DRIP) as response:
            events = events_of(response)
            await anext(events)
            upstream.gate.release()
            assert (await anext(events)).data == {"text": TOKENS[0]}
            signalled_at = time.monotonic()
            rest = await _rest_after(events, lambda: server.signal(number))
            told = time.monotonic() - signalled_at
        status = await server.ended()
        elapsed = time.monotonic() - signalled_at
        assert "Traceback" not in server.log, server.log

    assert [event.event for event in rest] == ["reconnect"]
    assert told < 1
    assert status == 0
    assert 1 <= elapsed < 3
    stored = await _stored_answer(transcripts, conversation)
    assert (stored["status"], stored["content"]) == ("interrupted", TOKENS[0])
    assert stored["error"]["code"] == "server_stopped"


async def test_a_turn_that_ends_in_time_is_completed_and_answered(
    tmp_path: Path, shared: dict[str, Any], upstream: Upstream
) -> None:
    async with ServerProcess(tmp_path, drain_timeout=20, **shared) as server, server.client() as client:
        conversation = await new_conversation(client)
        waiting = asyncio.create_task(client.post(f"{conversation}/turns", json=DRIP))
        await upstream.arrived.acquire()
        server.signal()
        for _ in TOKENS:
            upstream.gate.release()
        response = await waiting
        status = await server.ended(timeout=10)

    assert response.status_code == 201
    assert response.json()["assistant_message"]["content"] == "".join(TOKENS)
    assert status == 0


async def test_a_second_signal_does_not_wait_but_keeps_the_text(
    tmp_path: Path, shared: dict[str, Any], transcripts: Transcripts, upstream: Upstream
) -> None:
    async with ServerProcess(tmp_path, drain_timeout=60, **shared) as server, server.client() as client:
        conversation = await new_conversation(client)
        async with streaming(client, f"{conversation}/turns", DRIP) as response:
            events = events_of(response)
            await anext(events)
            upstream.gate.release()
            await anext(events)
            rest = await _rest_after(events, server.signal)
        signalled_at = time.monotonic()
        status = await server.terminate()
        elapsed = time.monotonic() - signalled_at

    assert [event.event for event in rest] == ["reconnect"]
    assert (status, elapsed < 2) == (0, True)
    assert (await _stored_answer(transcripts, conversation))["content"] == TOKENS[0]


async def test_a_stopping_server_accepts_nobody_and_finishes_what_it_took(
    tmp_path: Path, shared: dict[str, Any], upstream: Upstream
) -> None:
    async with ServerProcess(tmp_path, drain_timeout=20, **shared) as server, server.client() as client:
        conversation = await new_conversation(client)
        waiting = asyncio.create_task(client.post(f"{conversation}/turns", json=DRIP))
        await upstream.arrived.acquire()
        server.signal()
        async with asyncio.timeout(5), server.client() as other:
            # A connection that still waited to be accepted is reset; from then on nobody listens.
            with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):  # noqa: PT012
                while True:
                    response = await other.post(f"{conversation}/turns", json={"content": "And I?"})
                    assert response.status_code in {409, 503}
            with pytest.raises(httpx.ConnectError):
                await other.get("/health/live")
        for _ in TOKENS:
            upstream.gate.release()
        assert (await waiting).status_code == 201
        assert await server.ended() == 0


async def test_the_embedded_mongod_ends_cleanly_with_its_server(data: Path) -> None:
    async with ServerProcess(data) as server:
        mongod = find_mongod_process(data)
        server.signal(signal.SIGINT)
        status = await server.ended()
    await end(mongod)

    assert status == 0
    assert was_clean(data)


async def test_a_killed_server_leaves_no_mongod_and_the_next_one_finds_the_data(data: Path) -> None:
    async with ServerProcess(data) as server, server.client() as client:
        conversation = await new_conversation(client, title="kept")
        mongod = find_mongod_process(data)
        server.kill()
        await server.ended()
    await end(mongod)

    async with ServerProcess(data) as server, server.client() as client:
        assert (await client.get(conversation)).json()["title"] == "kept"
        assert (await client.get("/health/ready")).status_code == 200
        assert await server.terminate() == 0
    assert ADMIN_KEY not in server.welcome
