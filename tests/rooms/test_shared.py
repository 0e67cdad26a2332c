"""Following what is shared, until it is not any more."""

import asyncio

import httpx
import pytest
from bson import ObjectId

from app.services import Services
from tests.conftest import Person
from tests.rooms.sockets import connect
from tests.turns.conftest import conversation, other, settings, upstream
from tests.upstream import TOKENS, Upstream

__all__ = ["conversation", "other", "settings", "upstream"]

pytestmark = pytest.mark.mongod

DRIP = {"content": "Hi", "model": "local:drip"}


async def share(client: httpx.AsyncClient, conversation: str, person: Person, access: str) -> None:
    answer = await client.put(f"{conversation}/shares/{person.id}", json={"access": access})
    assert answer.status_code in {200, 201}, answer.text


@pytest.fixture
async def live_ben(live_url: str, ben: Person, services: Services) -> httpx.AsyncClient:
    await services.changes.opened()
    return httpx.AsyncClient(base_url=live_url, headers=ben.headers, timeout=30)


async def test_a_stream_of_a_reader_ends_with_the_share(
    live_ana: httpx.AsyncClient,
    live_ben: httpx.AsyncClient,
    ben: Person,
    conversation: str,
    upstream: Upstream,
    services: Services,
) -> None:
    await share(live_ana, conversation, ben, "read")
    async with live_ben, live_ana.stream("POST", f"{conversation}/turns", json={**DRIP, "stream": True}) as own:
        lines = own.aiter_lines()
        upstream.gate.release()
        while not (await anext(lines)).startswith("event: delta"):
            pass
        turn = own.headers["location"]
        async with live_ben.stream("GET", f"{turn}/events") as stream:
            assert stream.status_code == 200
            chunks = stream.aiter_text()
            assert "turn.started" in await anext(chunks)

            await live_ana.delete(f"{conversation}/shares/{ben.id}")

            async with asyncio.timeout(1):
                rest = [chunk async for chunk in chunks]
        assert "turn.completed" not in "".join(rest)
        assert (await live_ben.get(f"{turn}/events")).status_code == 404
        assert (await live_ana.get(turn)).json()["state"] == "running"
        for _ in TOKENS:
            upstream.gate.release()


async def test_a_socket_of_a_reader_is_told_that_the_share_is_over(
    live_url: str,
    live_ana: httpx.AsyncClient,
    live_ben: httpx.AsyncClient,
    ben: Person,
    conversation: str,
    upstream: Upstream,
) -> None:
    id = conversation.rpartition("/")[2]
    async with live_ben, connect(live_url, ben) as socket:
        assert (await socket.ask("subscribe", conversation_id=id))["code"] == "not_found"
        await share(live_ana, conversation, ben, "read")
        assert (await socket.ask("subscribe", conversation_id=id))["type"] == "subscribed"
        refused = await socket.ask("ask", conversation_id=id, turn={"content": "Hi"})
        assert (refused["type"], refused["status"]) == ("error", 403)

        await live_ana.delete(f"{conversation}/shares/{ben.id}")

        async with asyncio.timeout(1):
            end = await socket.next("unsubscribed")
        assert (end["conversation_id"], end["reason"]) == (id, "revoked")
        await live_ana.post(f"{conversation}/messages", json={"role": "user", "content": "secret"})
        assert (await socket.ask("ping"))["type"] == "pong"
        await share(live_ana, conversation, ben, "write")
        assert (await socket.ask("subscribe", conversation_id=id))["type"] == "subscribed"
        assert (await socket.ask("ask", conversation_id=id, turn={"content": "Hi"}))["type"] == "asked"


async def test_another_process_hears_of_it_too(
    as_ana: httpx.AsyncClient, ben: Person, conversation: str, other: Services
) -> None:
    await share(as_ana, conversation, ben, "read")
    told: asyncio.Queue[ObjectId] = asyncio.Queue()
    with other.sharing.revocations.telling(ben.id, told.put_nowait):
        await as_ana.delete(f"{conversation}/shares/{ben.id}")

        async with asyncio.timeout(1):
            assert str(await told.get()) == conversation.rpartition("/")[2]


async def test_what_was_missed_is_told_afterwards(
    as_ana: httpx.AsyncClient, ben: Person, conversation: str, services: Services
) -> None:
    """`services` follows no changes here, as when its change stream could not go on."""
    await share(as_ana, conversation, ben, "read")
    told: asyncio.Queue[ObjectId] = asyncio.Queue()
    revocations = services.sharing.revocations
    with revocations.telling(ben.id, told.put_nowait):
        await services.changes.aclose()
        await as_ana.delete(f"{conversation}/shares/{ben.id}")
        revocations._resync()

        async with asyncio.timeout(5):
            assert str(await told.get()) == conversation.rpartition("/")[2]
