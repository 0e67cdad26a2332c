"""A real HTTP server on loopback that receives webhooks, and misbehaves on demand.

    async with Receiver() as receiver:
        receiver.url("slow")             # what the path names is how it behaves
        event = await receiver.next()    # the next request that it got, verified or not

Behaviours that wait do so on `receiver.gate`, never on the clock.
"""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web

PATIENCE = 20.0


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def body(self) -> dict[str, Any]:
        return dict(json.loads(self.raw))

    @property
    def type(self) -> str:
        return str(self.body["type"])

    @property
    def data(self) -> dict[str, Any]:
        return dict(self.body["data"])

    def is_signed_with(self, secret: str) -> bool:
        """What https://www.standardwebhooks.com says, written down once more."""
        signed = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.raw
        mac = hmac.new(base64.b64decode(secret.split("_", 1)[1]), signed, hashlib.sha256).digest()
        return f"v1,{base64.b64encode(mac).decode()}" in self.headers["webhook-signature"].split(" ")


class Receiver:
    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.received: list[Received] = []
        self.statuses: list[int] = []
        """What the next requests to `/` are answered with; 200 when there is none."""
        self.behaviours = dict(_BEHAVIOURS)
        """What paths other than `/` do."""
        self.port = 0
        self._queue: asyncio.Queue[Received] = asyncio.Queue()
        self._runner: web.AppRunner | None = None

    def url(self, behaviour: str = "") -> str:
        return f"http://127.0.0.1:{self.port}/{behaviour}"

    async def next(self) -> Received:
        """The next request, waited for."""
        async with asyncio.timeout(PATIENCE):
            return await self._queue.get()

    async def take(self, count: int) -> list[Received]:
        return [await self.next() for _ in range(count)]

    @property
    def is_silent(self) -> bool:
        """Whether nothing came that was not taken."""
        return self._queue.empty()

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        received = Received(request.path, {k.lower(): v for k, v in request.headers.items()}, await request.read())
        self.received.append(received)
        self._queue.put_nowait(received)
        behave = self.behaviours.get(request.path.strip("/"))
        if behave is not None:
            return await behave(self, request)
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.gate.set()
        assert self._runner is not None
        await self._runner.cleanup()


async def _hang(receiver: Receiver, _: web.Request) -> web.Response:
    await receiver.gate.wait()
    return web.Response()


async def _redirect(receiver: Receiver, _: web.Request) -> web.Response:
    return web.Response(status=307, headers={"Location": receiver.url("elsewhere")})


async def _gone(_: Receiver, __: web.Request) -> web.Response:
    return web.Response(status=410)


async def _endless(_: Receiver, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 65536)


async def _cut(_: Receiver, request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _garbage(_: Receiver, request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.write(b"\x00\xff this is no HTTP \r\n\r\n")
    request.transport.close()
    return web.Response()


async def _busy(_: Receiver, __: web.Request) -> web.Response:
    return web.Response(status=503, headers={"Retry-After": "600"})


_BEHAVIOURS: Mapping[str, Callable[[Receiver, web.Request], Awaitable[web.StreamResponse]]] = {
    "hang": _hang,
    "redirect": _redirect,
    "gone": _gone,
    "endless": _endless,
    "cut": _cut,
    "garbage": _garbage,
    "busy": _busy,
}
