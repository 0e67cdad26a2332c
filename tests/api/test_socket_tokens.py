"""WebSockets with tokens and passwords: opened, renewed before the token is over, and ended with the session."""

import base64

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from app.api import socket_session
from app.services import Services
from tests.auth.signing_in import PASSWORD, basic, bearer, give_password, refresh, sign_in
from tests.conftest import Person
from tests.rooms.sockets import Socket, connect

pytestmark = [pytest.mark.mongod, pytest.mark.usefixtures("cheap_passwords")]


@pytest.fixture
async def ana(services: Services, ana: Person) -> Person:
    await give_password(services, ana)
    return ana


async def _is_open(socket: Socket) -> bool:
    return bool((await socket.ask("ping"))["type"] == "pong")


async def _code(socket: Socket) -> int:
    closed = await socket.closed()
    assert closed.rcvd is not None
    return closed.rcvd.code


async def test_an_access_token_opens_it_in_each_way(live_url: str, anonymous: httpx.AsyncClient, ana: Person) -> None:
    token = (await sign_in(anonymous, ana))["access_token"]
    async with connect(live_url, token) as by_header:
        assert await _is_open(by_header)
    async with connect(live_url, subprotocols=["verbatim", f"bearer.{token}"]) as by_subprotocol:
        assert await _is_open(by_subprotocol)
    async with connect(live_url) as by_message:
        await by_message.send({"type": "auth", "token": token})
        assert (await by_message.receive())["user_id"] == str(ana.id)


async def test_a_password_opens_it(live_url: str, ana: Person) -> None:
    async with connect(live_url, additional_headers=basic(ana.email, PASSWORD)) as socket:
        assert await _is_open(socket)
    async with connect(live_url, additional_headers=basic(ana.email, "wrong")) as socket:
        assert await _code(socket) == 4401


@pytest.mark.parametrize("header", ["Digest x", "Basic !", "Basic " + base64.b64encode(b"x").decode()])
async def test_a_header_that_cannot_be_read_refuses_the_handshake(live_url: str, header: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(live_url, additional_headers={"Authorization": header}):
            pytest.fail("it was opened")
    assert refusal.value.response.status_code == 401


async def test_a_token_of_the_same_session_renews_it(
    live_url: str, anonymous: httpx.AsyncClient, ana: Person, services: Services
) -> None:
    granted = await sign_in(anonymous, ana)
    async with connect(live_url, granted["access_token"]) as socket:
        assert await _is_open(socket)
        renewed = (await refresh(anonymous, granted["refresh_token"])).json()

        answer = await socket.ask("auth", token=renewed["access_token"])
        assert (answer["type"], answer["user_id"]) == ("authenticated", str(ana.id))
        assert await _is_open(socket)


async def test_another_credential_renews_nothing(
    live_url: str, anonymous: httpx.AsyncClient, ana: Person, ben: Person
) -> None:
    granted, other = await sign_in(anonymous, ana), await sign_in(anonymous, ana)
    narrow = (await refresh(anonymous, granted["refresh_token"], scope="read")).json()
    async with connect(live_url, granted["access_token"]) as socket:
        for token in (ana.key, ben.key, other["access_token"], narrow["access_token"]):
            refused = await socket.ask("auth", token=token)
            assert (refused["code"], refused["reason"]) == ("conflict", "authenticated")
        assert await _is_open(socket)
        await socket.send({"type": "auth", "token": "vb_wrong"})
        assert await _code(socket) == 4401


@pytest.mark.parametrize("is_silent", [True, False])
async def test_logging_out_ends_it(
    live_url: str, anonymous: httpx.AsyncClient, ana: Person, monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    if is_silent:
        monkeypatch.setattr(socket_session, "CHECK_SECONDS", 0.05)
    token = (await sign_in(anonymous, ana))["access_token"]
    async with connect(live_url, token) as socket:
        assert await _is_open(socket)
        assert (await anonymous.post("/api/auth/logout", headers=bearer(token))).status_code == 204
        if not is_silent:
            await socket.send({"id": "1", "type": "ping"})
        assert await _code(socket) == 4401
