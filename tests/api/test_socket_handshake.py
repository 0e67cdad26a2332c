"""Opening a WebSocket: each way to bring a key, each refusal, and what becomes of a key that counts no more."""

import asyncio
import json
import logging
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from app.api import socket_session
from app.auth.schemas import KeyCreate
from app.config import Settings
from app.kit.repository import EVERYTHING
from app.rooms import service as rooms_service
from app.services import Services
from tests.conftest import Person, make_person
from tests.rooms.sockets import Json, Socket, connect

pytestmark = pytest.mark.mongod

AUTH: Json = {"type": "auth"}


@pytest.fixture
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """A test changes settings with `@pytest.mark.parametrize("settings", [{...}], indirect=True)`."""
    return settings.model_copy(update={"socket_auth_timeout": 0.3, **getattr(request, "param", {})})


async def _is_open(socket: Socket) -> bool:
    return bool((await socket.ask("ping"))["type"] == "pong")


async def _end_of(socket: Socket) -> tuple[int, str]:
    """The code the socket is closed with, and the error that it was told before."""
    closed = await socket.closed()
    assert closed.rcvd is not None
    errors = [each["code"] for each in socket.kept if each["type"] == "error"]
    return closed.rcvd.code, errors[-1] if errors else ""


async def test_a_key_in_the_header_opens_it(live_url: str, ana: Person) -> None:
    async with connect(live_url, ana) as socket:
        assert await _is_open(socket)
        assert socket.connection.subprotocol is None
        assert socket.connection.response is not None
        assert socket.connection.response.headers["x-request-id"].startswith("req_")


async def test_a_key_among_the_subprotocols_opens_it_and_is_not_repeated(live_url: str, ana: Person) -> None:
    async with connect(live_url, subprotocols=["verbatim", f"bearer.{ana.key}"]) as socket:
        assert await _is_open(socket)
        assert socket.connection.subprotocol == "verbatim"


async def test_a_key_in_the_first_message_opens_it(live_url: str, ana: Person) -> None:
    async with connect(live_url) as socket:
        await socket.send({**AUTH, "id": "a", "token": ana.key})
        assert await socket.receive() == {"type": "authenticated", "id": "a", "user_id": str(ana.id)}
        assert await _is_open(socket)
        assert (await socket.ask("auth", token=ana.key))["type"] == "authenticated"
        assert await _is_open(socket)


async def test_no_key_in_time_ends_it(live_url: str) -> None:
    async with connect(live_url) as socket:
        assert await _end_of(socket) == (4401, "unauthenticated")


@pytest.mark.parametrize(
    "first",
    [
        {**AUTH, "token": "vb_wrong"},
        {**AUTH, "token": ""},
        AUTH,
        {"id": "1", "type": "ping"},
        "not json",
        b"binary",
    ],
)
async def test_another_first_message_than_a_key_that_counts_ends_it(live_url: str, first: Any) -> None:
    async with connect(live_url) as socket:
        await socket.send(first)
        assert await _end_of(socket) == (4401, "unauthenticated")


async def test_a_wrong_key_in_the_handshake_ends_it_with_an_error(live_url: str) -> None:
    async with connect(live_url, "vb_wrong") as socket:
        assert await _end_of(socket) == (4401, "unauthenticated")
        assert socket.kept[0]["status"] == 401
    async with connect(live_url, subprotocols=["verbatim", "bearer.vb_wrong"]) as socket:
        assert await _end_of(socket) == (4401, "unauthenticated")


async def test_a_key_in_the_url_does_not_count_by_default(live_url: str, ana: Person) -> None:
    async with connect(live_url, query=f"?token={ana.key}") as socket:
        assert await _end_of(socket) == (4401, "unauthenticated")


@pytest.mark.parametrize("settings", [{"socket_token_in_url": True}], indirect=True)
async def test_a_key_in_the_url_counts_where_it_may_and_is_never_logged(
    live_url: str, ana: Person, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO):
        async with connect(live_url, query=f"?token={ana.key}") as socket:
            assert await _is_open(socket)
        async with connect(live_url, query="?token=vb_wrong") as socket:
            assert (await _end_of(socket))[0] == 4401
    printed = "".join(capfd.readouterr())

    assert "socket_opened" in printed
    server_lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.error"]
    assert any("/api/ws" in line for line in server_lines)
    for text in (*server_lines, printed):
        assert ana.key not in text
        assert "vb_wrong" not in text


@pytest.mark.parametrize("origin", ["https://evil.example.com", "null", "http://127.0.0.1:1", "https://[bad"])
async def test_pages_of_other_sites_are_refused(live_url: str, ana: Person, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(live_url, ana, origin=origin):
            pytest.fail("it was opened")

    assert refusal.value.response.status_code == 403
    assert refusal.value.response.headers["content-type"] == "application/problem+json"
    assert json.loads(refusal.value.response.body)["code"] == "forbidden"


@pytest.mark.parametrize("settings", [{"allowed_origins": ["https://chat.example.com"]}], indirect=True)
async def test_pages_of_this_server_and_of_named_origins_are_let_in(live_url: str, ana: Person) -> None:
    for origin in (live_url, "https://chat.example.com", "HTTPS://Chat.Example.com"):
        async with connect(live_url, ana, origin=origin) as socket:
            assert await _is_open(socket)


async def test_a_server_that_stops_refuses_new_ones(live_url: str, ana: Person, app: Any) -> None:
    app.state.drain.start()
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(live_url, ana):
            pytest.fail("it was opened")
    assert refusal.value.response.status_code == 503


async def test_a_revoked_key_ends_a_silent_socket(
    live_url: str, ana: Person, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_session, "CHECK_SECONDS", 0.05)
    row, key = await services.keys.create(ana.id, KeyCreate(name="short-lived"))
    async with connect(live_url, key) as socket:
        assert await _is_open(socket)
        await services.keys.delete(EVERYTHING, row["_id"])
        assert await _end_of(socket) == (4401, "unauthenticated")


async def test_a_revoked_key_ends_a_socket_that_asks(live_url: str, ana: Person, services: Services) -> None:
    row, key = await services.keys.create(ana.id, KeyCreate(name="short-lived"))
    async with connect(live_url, key) as socket:
        assert await _is_open(socket)
        await services.keys.delete(EVERYTHING, row["_id"])
        await socket.send({"id": "1", "type": "ping"})
        assert await _end_of(socket) == (4401, "unauthenticated")
        assert "pong" not in {each["type"] for each in socket.kept}


async def test_who_may_do_something_else_by_now_is_told_to_come_again(
    live_url: str, services: Services, as_admin: httpx.AsyncClient
) -> None:
    eve = await make_person(services, "eve", "admin")
    async with connect(live_url, eve) as socket:
        assert await _is_open(socket)
        demoted = await as_admin.patch(f"/api/users/{eve.id}", json={"role": "user"})
        assert demoted.status_code == 200
        await socket.send({"id": "1", "type": "ping"})
        closed = await socket.closed()
        assert closed.rcvd is not None
        assert closed.rcvd.code == 1012
        assert [each["type"] for each in socket.kept] == ["reconnect"]
    async with connect(live_url, eve) as socket:
        assert await _is_open(socket)


async def test_one_user_has_so_many_sockets_and_no_more(
    live_url: str, ana: Person, ben: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms_service, "MAX_SOCKETS", 2)
    async with connect(live_url, ana) as first, connect(live_url, ana) as second:
        assert await _is_open(first)
        assert await _is_open(second)
        async with connect(live_url, ana) as third:
            assert await _end_of(third) == (1008, "conflict")
            assert third.kept[0]["reason"] == "too_many_sockets"
        async with connect(live_url, ben) as other:
            assert await _is_open(other)
        await first.connection.close()
        async with asyncio.timeout(5):
            while True:  # until the server has heard of it
                async with connect(live_url, ana) as again:
                    await again.send({"id": "1", "type": "ping"})
                    if (await again.receive())["type"] == "pong":
                        break
