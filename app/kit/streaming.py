"""Server-sent events: encoding, keep-alive, and an end when the server is told to stop."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, cast

import anyio
from starlette.responses import StreamingResponse
from starlette.types import Send

from app.kit.responses import to_json

KEEP_ALIVE_SECONDS = 15.0
_KEEP_ALIVE = b": keep-alive\n\n"
_RECONNECT = b"event: reconnect\nretry: 1000\ndata: {}\n\n"


class Drain:
    """Set once, when the server is told to stop: open streams say so and end."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._actions: list[Callable[[], None]] = []

    def then(self, action: Callable[[], None]) -> None:
        """Call `action` when it starts."""
        self._actions.append(action)

    def start(self) -> None:
        if self._event.is_set():
            return
        self._event.set()
        for action in self._actions:
            action()

    @property
    def has_started(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> None:
        await self._event.wait()


@dataclass(frozen=True)
class ServerSentEvent:
    """One event: its number in the stream, its name, and data to be shown as JSON."""

    id: int
    event: str
    data: Any

    def encode(self) -> bytes:
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (self.id, self.event.encode(), to_json(self.data))


def event_stream(
    events: AsyncGenerator[ServerSentEvent, None],
    drain: Drain,
    headers: dict[str, str] | None = None,
    *,
    keep_alive: float = KEEP_ALIVE_SECONDS,
) -> StreamingResponse:
    """The response that sends `events`, and ends when they do or when the server drains.

    `keep_alive`: seconds of silence after which a comment tells proxies that the connection is in use.
    """
    return _EventStream(
        _encode(events, drain, keep_alive),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})},
    )


class _EventStream(StreamingResponse):
    """Closes its generator when the client is gone, which Starlette leaves to the garbage collector."""

    async def stream_response(self, send: Send) -> None:
        body = cast("AsyncGenerator[bytes, None]", self.body_iterator)
        try:
            await super().stream_response(send)
        finally:
            with anyio.CancelScope(shield=True):
                await body.aclose()


async def _encode(
    events: AsyncGenerator[ServerSentEvent, None], drain: Drain, keep_alive: float
) -> AsyncGenerator[bytes, None]:
    draining = asyncio.ensure_future(drain.wait())
    pending = _next(events)
    try:
        while True:
            await asyncio.wait({pending, draining}, timeout=keep_alive, return_when=asyncio.FIRST_COMPLETED)
            if draining.done():  # first, or a slow reader of many events would keep the server from stopping
                yield _RECONNECT
                return
            if not pending.done():
                yield _KEEP_ALIVE  # the pending event is waited for, never cancelled
                continue
            if (event := pending.result()) is None:
                return
            yield event.encode()
            pending = _next(events)
    finally:
        draining.cancel()
        pending.cancel()
        # A client that left has cancelled this task, and would cancel every further await of it.
        with anyio.CancelScope(shield=True):
            await asyncio.gather(pending, draining, return_exceptions=True)
            await events.aclose()


def _next(events: AsyncGenerator[ServerSentEvent, None]) -> "asyncio.Task[ServerSentEvent | None]":
    return asyncio.ensure_future(anext(events, None))
