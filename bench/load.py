"""A closed loop of HTTP clients: every request that is started is finished and counted."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import httptools


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: bytes = b""


@dataclass(frozen=True)
class Load:
    """What a run of requests took: seconds of wall time, and milliseconds of each request."""

    count: int
    seconds: float
    milliseconds: list[float]

    @property
    def per_second(self) -> float:
        return self.count / self.seconds

    def percentile(self, share: float) -> float:
        return sorted(self.milliseconds)[min(self.count - 1, int(self.count * share))]


class _Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self) -> None:
        self._answered: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's signature
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionError("the server closed the connection"))

    def send(self, data: bytes) -> "asyncio.Future[int]":
        self._answered = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self.transport.write(data)
        return self._answered

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(self._parser.get_status_code())


async def run_load(port: int, key: str, make: Callable[[int], Request], *, count: int, clients: int) -> Load:
    """Send `make(0)` to `make(count - 1)` from `clients` connections; raises RuntimeError unless all are 2xx."""
    numbers = iter(range(count))
    times: list[float] = []

    async def client() -> None:
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", port)
        for number in numbers:
            request = make(number)
            started = time.perf_counter()
            status = await connection.send(_encode(request, key))
            times.append((time.perf_counter() - started) * 1000)
            if status >= 300:
                raise RuntimeError(f"{request.method} {request.path} answered {status}")
        connection.transport.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return Load(count, time.perf_counter() - started, times)


def _encode(request: Request, key: str) -> bytes:
    head = (
        f"{request.method} {request.path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(request.body)}\r\n\r\n"
    )
    return head.encode() + request.body
