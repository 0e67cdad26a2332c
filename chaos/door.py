"""How a client gets to a server that serves, as the guide tells: whoever cannot be reached, hangs, or answers 502, 503
or 504 is left for another one, after the time the answer asks for, and is avoided for two seconds, as the proxy in
`deploy/` does; every POST carries its key, so it happens once.

One request has 20 seconds for all its attempts. What it came to is noted in the history.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from chaos.history import History, Kind, Request
from tests.faults.followers import Call

DEADLINE = 20.0
ATTEMPT = 8.0
"""Seconds after which one server is given up for another: an election takes less, and a second try has its time."""
SILENCE = 17.0
"""Seconds without a byte of a stream after which it is broken off: a living server sends a comment every 15."""
_AVOIDED = 2.0
_CONNECT = 2.0
_PAUSE = 0.25
_RETRIED = frozenset((429, 502, 503, 504))

T = TypeVar("T")
Attempt = Callable[[httpx.AsyncClient], Awaitable[T]]


class _Busy(Exception):
    """The server asks to come back after `pause` seconds."""

    def __init__(self, reason: str, pause: float) -> None:
        super().__init__(reason)
        self.pause = pause


class _Refused(Exception):
    """An answer that a repetition does not change."""


class Door:
    """An asynchronous context manager; `urls`: where the servers are."""

    def __init__(self, history: History, urls: Sequence[str], key: str) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        timeout = httpx.Timeout(SILENCE, connect=_CONNECT)
        headers = {"Authorization": f"Bearer {key}"}
        self._history = history
        self._clients = [
            httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=timeout) for url in urls
        ]
        self._avoided = [0.0] * len(urls)
        """Until when each server is."""
        self._stack = AsyncExitStack()

    async def request(
        self,
        kind: Kind,
        rng: random.Random,
        method: str,
        path: str,
        *,
        key: str = "",
        deadline: float = DEADLINE,
        **rest: Any,
    ) -> httpx.Response | None:
        """The answer, whole; None when there was none in time or it was no success. `key`: of a POST."""
        headers = {"Idempotency-Key": key} if key else {}

        async def attempt(client: httpx.AsyncClient) -> httpx.Response:
            response = await client.request(method, path, headers=headers, **rest)
            if method != "DELETE" or response.status_code != 404:  # an attempt before may have removed it
                _check(response)
            return response

        return await self._reach(kind, rng, attempt, deadline)

    async def stream(self, kind: Kind, rng: random.Random, call: Call) -> httpx.Response | None:
        """The answer, whose body is still to come; its reader closes it."""

        async def attempt(client: httpx.AsyncClient) -> httpx.Response:
            request = client.build_request(call.method, call.path, json=call.body, headers=call.headers)
            response = await client.send(request, stream=True)
            if response.status_code >= 300:
                await response.aread()
                await response.aclose()
            _check(response)
            return response

        return await self._reach(kind, rng, attempt, DEADLINE)

    async def _reach(self, kind: Kind, rng: random.Random, attempt: Attempt[T], deadline: float) -> T | None:
        """What an attempt at some server came to; noted as one request."""
        started, attempts, reason = time.monotonic(), 0, ""
        while (rest := started + deadline - time.monotonic()) > 0:
            attempts += 1
            number = self._choose(rng)
            try:
                async with asyncio.timeout(min(rest, max(ATTEMPT, deadline / 3))):
                    answer = await attempt(self._clients[number])
            except _Refused as error:
                self._note(kind, started, attempts, str(error))
                return None
            except (httpx.TransportError, TimeoutError, _Busy) as error:
                reason = f"{type(error).__name__} {error}"
                pause = error.pause if isinstance(error, _Busy) else _PAUSE
                self._avoided[number] = time.monotonic() + _AVOIDED
                await asyncio.sleep(min(pause, max(0.0, started + deadline - time.monotonic())))
            else:
                self._note(kind, started, attempts, "")
                return answer
        self._note(kind, started, attempts, f"nothing within {deadline:g} s; at last {reason}")
        return None

    def _choose(self, rng: random.Random) -> int:
        """A server that is not avoided; any when all are."""
        now, every = time.monotonic(), range(len(self._clients))
        return rng.choice([number for number in every if self._avoided[number] <= now] or every)

    def _note(self, kind: Kind, started: float, attempts: int, failure: str) -> None:
        self._history.requests.append(Request(kind, started, time.monotonic(), attempts, failure))

    async def __aenter__(self) -> Self:
        for client in self._clients:
            await self._stack.enter_async_context(client)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()


def _check(response: httpx.Response) -> None:
    """Raises _Busy and _Refused."""
    if response.status_code < 300:
        return
    sentence = f"{response.status_code} {response.text[:300]}"
    if response.status_code in _RETRIED:
        raise _Busy(sentence, float(response.headers.get("retry-after", _PAUSE)))
    raise _Refused(sentence)
