"""A server that stops: who is connected is told to come again, however busy the server is."""

import asyncio

import pytest
from fastapi import FastAPI

from app.api.socket_protocol import SocketProtocol
from tests.conftest import Person
from tests.rooms.sockets import connect

pytestmark = pytest.mark.mongod


async def test_connections_that_the_server_ends_first_are_told_to_come_again_all_the_same(
    app: FastAPI, live_url: str, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine uvicorn closes what is open before the sessions have had their turn."""
    made: list[SocketProtocol] = []
    connection_made = SocketProtocol.connection_made

    def noted(self: SocketProtocol, transport: asyncio.Transport) -> None:
        made.append(self)
        connection_made(self, transport)

    monkeypatch.setattr(SocketProtocol, "connection_made", noted)
    async with connect(live_url, ana.key) as socket:
        await socket.ask("ping")
        for each in made:
            each.shutdown()
        app.state.drain.start()
        closed = await socket.closed()

    assert closed.rcvd is not None
    assert closed.rcvd.code == 1012
    assert socket.kept[-1] == {"type": "reconnect"}
