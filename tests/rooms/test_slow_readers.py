"""A client that does not read costs nobody else anything, and is let go."""

import asyncio
from typing import Any

import httpx
import pytest

from app.api import socket_outbox, socket_protocol
from app.api.socket_protocol import SocketProtocol
from tests.conftest import Person
from tests.rooms.sockets import Socket, connect

pytestmark = pytest.mark.mongod

KIBIBYTE = 1024
NOT_READ: dict[str, Any] = {"max_queue": 1, "max_size": None, "ping_interval": None}
"""A client that takes one message and leaves the rest to the network until it is asked for."""


async def append_much(client: httpx.AsyncClient, conversation: str, mebibytes: int) -> None:
    """More than the buffers of a connection hold."""
    message = {"role": "user", "content": "x" * 512 * KIBIBYTE}
    for _ in range(mebibytes):
        response = await client.post(f"{conversation}/messages/bulk", json={"messages": [message, message]})
        assert response.status_code == 201


async def numbers(socket: Socket, last: int) -> list[int]:
    received = await socket.until(lambda each: each["type"] == "message" and each["message"]["seq"] == last)
    return [each["message"]["seq"] for each in received if each["type"] == "message"]


async def all_and_alone(socket: Socket, person: Person, last: int) -> list[int]:
    """The numbers of all messages; meanwhile or thereafter nobody else is there any more."""
    received: list[int] = []
    is_alone = False
    while received[-1:] != [last] or not is_alone:
        message = await socket.receive()
        if message["type"] == "message":
            received.append(message["message"]["seq"])
        elif message["type"] == "presence":
            is_alone = [each["id"] for each in message["users"]] == [str(person.id)]
    return received


async def test_the_others_are_not_stopped_and_the_slow_one_is_told_why(
    live_url: str,
    ana: Person,
    admin: Person,
    as_ana: httpx.AsyncClient,
    conversation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket_outbox, "SLOW_SECONDS", 0.5)
    async with (
        connect(live_url, ana, **NOT_READ) as slow,
        connect(live_url, admin, max_size=None) as quick,
    ):
        await slow.subscribe(conversation)
        await quick.subscribe(conversation)
        reading = asyncio.create_task(all_and_alone(quick, admin, 40))
        await append_much(as_ana, conversation, 20)
        assert await reading == list(range(1, 41))

        closed = await slow.closed()
        assert closed.rcvd is not None
        assert (closed.rcvd.code, closed.rcvd.reason) == (1008, "Messages were not read for too long.")
        got = [each["message"]["seq"] for each in slow.kept if each["type"] == "message"]
        assert got == list(range(1, len(got) + 1))
        assert len(got) < 40


async def test_one_who_is_only_slow_gets_everything(
    live_url: str, ana: Person, as_ana: httpx.AsyncClient, conversation: str
) -> None:
    async with connect(live_url, ana, **NOT_READ) as slow:
        await slow.subscribe(conversation)
        await append_much(as_ana, conversation, 20)
        assert await numbers(slow, 40) == list(range(1, 41))


async def test_one_who_never_reads_again_is_cut_off(
    live_url: str,
    ana: Person,
    admin: Person,
    as_ana: httpx.AsyncClient,
    conversation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket_outbox, "SLOW_SECONDS", 0.2)
    monkeypatch.setattr(socket_outbox, "CLOSE_SECONDS", 0.2)
    monkeypatch.setattr(socket_protocol, "ENDING_SECONDS", 0.2)
    lost = asyncio.Event()
    connection_lost = SocketProtocol.connection_lost

    def watched(connection: SocketProtocol, error: Exception | None) -> None:
        connection_lost(connection, error)
        lost.set()

    monkeypatch.setattr(SocketProtocol, "connection_lost", watched)
    async with connect(live_url, ana, **NOT_READ) as stuck, connect(live_url, admin, max_size=None) as other:
        await other.subscribe(conversation)
        await stuck.subscribe(conversation)
        reading = asyncio.create_task(all_and_alone(other, admin, 40))
        await append_much(as_ana, conversation, 20)
        await reading
        async with asyncio.timeout(10):
            await lost.wait()
        closed = await stuck.closed()
        assert closed.rcvd is None  # it came too late to hear why
