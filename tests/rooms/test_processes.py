"""Rooms across two server processes on one database."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.conftest import lasting_upstream, shared, upstream
from tests.processes import ADMIN_KEY, ServerProcess
from tests.rooms.sockets import Json, connect, text_of, told
from tests.turns.conftest import messages_of, new_conversation
from tests.upstream import TOKENS, Upstream

__all__ = ["lasting_upstream", "shared", "upstream"]

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

DRIP = {"content": "Hi", "model": "local:drip"}
LEASE = 1


@pytest.fixture(scope="module")
async def servers(
    tmp_path_factory: pytest.TempPathFactory, shared: dict[str, Any]
) -> AsyncIterator[list[ServerProcess]]:
    async with AsyncExitStack() as stack:
        both = [ServerProcess(tmp_path_factory.mktemp(name), turn_lease=LEASE, **shared) for name in "ab"]
        yield list(await asyncio.gather(*(stack.enter_async_context(server) for server in both)))


@pytest.fixture
async def clients(servers: list[ServerProcess]) -> AsyncIterator[list[httpx.AsyncClient]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(server.client()) for server in servers]


@pytest.fixture
async def guest_key(clients: list[httpx.AsyncClient]) -> str:
    """The key of another admin, who may see everybody's conversations."""
    response = await clients[0].post(
        "/api/users",
        json={"email": f"guest{time.monotonic_ns()}@example.com", "name": "Guest", "role": "admin"},
    )
    assert response.status_code == 201, response.text
    key = await clients[0].post("/api/keys", json={"name": "guest", "user_id": response.json()["id"]})
    assert key.status_code == 201, key.text
    return str(key.json()["key"])


def id_of(path: str) -> str:
    return path.rpartition("/")[2]


def names(message: Json) -> set[str]:
    return {each["name"] for each in message.get("users") or message["presence"]}


async def test_a_turn_of_one_process_is_told_word_for_word_by_both(
    servers: list[ServerProcess], clients: list[httpx.AsyncClient], upstream: Upstream
) -> None:
    conversation = await new_conversation(clients[0])
    async with connect(servers[0].url, ADMIN_KEY) as near, connect(servers[1].url, ADMIN_KEY) as far:
        await near.subscribe(conversation)
        await far.subscribe(conversation)
        await near.ask("ask", conversation_id=id_of(conversation), turn=DRIP)
        for _ in TOKENS:
            upstream.gate.release()
        seen = [told(await each.until(lambda each: each["type"] == "message.updated")) for each in (near, far)]
    assert seen[0] == seen[1]
    assert text_of([each for each in seen[0] if each["type"] == "turn"]) == "".join(TOKENS)


async def test_two_hundred_messages_of_two_processes_arrive_once_each_and_in_order(
    servers: list[ServerProcess], clients: list[httpx.AsyncClient]
) -> None:
    conversation = await new_conversation(clients[0])
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(connect(server.url, ADMIN_KEY)) for server in servers * 2]
        for socket in sockets:
            await socket.subscribe(conversation)
        posts = [
            client.post(f"{conversation}/messages", json={"role": "user", "content": f"{number}"})
            for number in range(100)
            for client in clients
        ]
        responses = await asyncio.gather(*posts)
        assert {response.status_code for response in responses} == {201}
        stored = await messages_of(clients[0], conversation)
        assert [each["seq"] for each in stored] == list(range(1, 201))
        for socket in sockets:
            received = await socket.until(lambda each: each["type"] == "message" and each["message"]["seq"] == 200)
            assert [each["message"] for each in received if each["type"] == "message"] == stored


async def test_presence_is_of_all_processes(
    servers: list[ServerProcess], clients: list[httpx.AsyncClient], guest_key: str
) -> None:
    conversation = await new_conversation(clients[0])
    async with connect(servers[0].url, ADMIN_KEY) as socket:
        assert len((await socket.subscribe(conversation))["presence"]) == 1
        async with connect(servers[1].url, guest_key) as guest:
            assert "Guest" in names(await guest.subscribe(conversation))
            assert len(names(await socket.next("presence"))) == 2
        assert "Guest" not in names(await socket.next("presence"))


async def test_who_was_on_a_killed_process_is_gone_and_resumes_on_another(
    tmp_path: Path,
    servers: list[ServerProcess],
    clients: list[httpx.AsyncClient],
    guest_key: str,
    shared: dict[str, Any],
    upstream: Upstream,
) -> None:
    conversation = await new_conversation(clients[0])
    async with connect(servers[0].url, ADMIN_KEY) as socket:
        await socket.subscribe(conversation)
        async with ServerProcess(tmp_path, turn_lease=LEASE, **shared) as third:
            async with connect(third.url, guest_key) as guest:
                await guest.subscribe(conversation)
                assert "Guest" in names(await socket.next("presence"))
                turn = (await guest.ask("ask", conversation_id=id_of(conversation), turn=DRIP))["turn"]
                upstream.gate.release()
                seen = await guest.until(lambda each: each.get("event") == "delta")
                third.kill()
                await third.ended()
            assert "Guest" not in names(await socket.next("presence"))
        async with connect(servers[1].url, guest_key) as guest:
            await guest.ask("follow", turn_id=turn["id"], after=seen[-1]["number"])
            rest = await guest.turn()
        assert rest[-1]["event"] == "turn.interrupted"
        events = [each for each in seen if each["type"] == "turn"] + rest
        assert text_of(events) == (await messages_of(clients[0], conversation))[1]["content"] == TOKENS[0]


async def test_a_server_that_stops_says_so_and_the_turn_goes_on(
    tmp_path: Path,
    clients: list[httpx.AsyncClient],
    servers: list[ServerProcess],
    shared: dict[str, Any],
    upstream: Upstream,
) -> None:
    conversation = await new_conversation(clients[0])
    async with (
        ServerProcess(tmp_path, drain_timeout=20, **shared) as server,
        connect(servers[0].url, ADMIN_KEY) as witness,
    ):
        await witness.subscribe(conversation)
        async with connect(server.url, ADMIN_KEY) as socket, connect(server.url, ADMIN_KEY) as idle:
            await socket.subscribe(conversation)
            await socket.ask("ask", conversation_id=id_of(conversation), turn=DRIP)
            upstream.gate.release()
            await socket.next("turn", event="delta")
            signalled_at = time.monotonic()
            server.signal(signal.SIGTERM)
            for each in (socket, idle):
                closed = await each.closed()
                assert closed.rcvd is not None
                assert closed.rcvd.code == 1012
                assert each.kept[-1] == {"type": "reconnect"}
            assert time.monotonic() - signalled_at < 2
        for _ in TOKENS:
            upstream.gate.release()
        assert text_of(await witness.turn()) == "".join(TOKENS)
        assert await server.ended() == 0
        assert "Traceback" not in server.log
        assert ADMIN_KEY not in server.log


async def test_a_client_that_is_stuck_does_not_keep_the_server_from_stopping(
    tmp_path: Path, clients: list[httpx.AsyncClient], shared: dict[str, Any]
) -> None:
    conversation = await new_conversation(clients[0])
    much = {"messages": [{"role": "user", "content": "x" * 500_000}] * 10}
    options: dict[str, Any] = {"max_queue": 1, "max_size": None, "ping_interval": None}
    async with ServerProcess(tmp_path, drain_timeout=30, **shared) as server:
        async with connect(server.url, ADMIN_KEY, **options) as socket:
            await socket.subscribe(conversation)
            for _ in range(4):
                assert (await clients[0].post(f"{conversation}/messages/bulk", json=much)).status_code == 201
            server.signal(signal.SIGTERM)
            assert await server.ended(timeout=15) == 0
            socket.connection.transport.abort()
        assert "Traceback" not in server.log


async def test_debug_logs_show_neither_keys_nor_words(tmp_path: Path, shared: dict[str, Any]) -> None:
    async with (
        ServerProcess(tmp_path, log_level="debug", socket_token_in_url=True, **shared) as server,
        server.client() as client,
    ):
        conversation = await new_conversation(client)
        async with connect(server.url, query=f"?token={ADMIN_KEY}") as socket:
            await socket.subscribe(conversation)
            await socket.ask("ask", conversation_id=id_of(conversation), turn={"content": "open sesame"})
            await socket.turn()
        async with connect(server.url, subprotocols=["verbatim", f"bearer.{ADMIN_KEY}"]) as socket:
            await socket.ask("ping")
        assert await server.terminate() == 0
        assert "socket_opened" in server.log
        assert ADMIN_KEY not in server.log
        assert "sesame" not in server.log
