"""Server-sent events: encoding, keep-alive, and an end when the server is told to stop."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.responses import StreamingResponse

from app.kit.responses import to_json

KEEP_ALIVE_SECONDS = 15.0
_KEEP_ALIVE = b": keep-alive\n\n"
_RECONNECT = b"event: reconnect\nretry: 1000\ndata: {}\n\n"


class Drain:
    """Set once, when the server is told to stop: open streams say so and end."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def start(self) -> None:
        self._event.set()

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
    events: AsyncGenerator[ServerSentEvent, None], drain: Drain, headers: dict[str, str] | None = None
) -> StreamingResponse:
    """The response that sends `events`, keeps the connection alive between them, and ends when the server drains."""
    return StreamingResponse(
        _encode(events, drain),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})},
    )


async def _encode(events: AsyncGenerator[ServerSentEvent, None], drain: Drain) -> AsyncIterator[bytes]:
    draining = asyncio.ensure_future(drain.wait())
    try:
        async with aclosing(events):
            pending = _next(events)
            try:
                while True:
                    await asyncio.wait(
                        {pending, draining}, timeout=KEEP_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED
                    )
                    if pending.done():
                        if (event := pending.result()) is None:
                            return
                        yield event.encode()
                        pending = _next(events)
                    elif draining.done():
                        yield _RECONNECT
                        return
                    else:
                        yield _KEEP_ALIVE  # the pending event is waited for, never cancelled
            finally:
                pending.cancel()
                await asyncio.wait({pending})
    finally:
        draining.cancel()


def _next(events: AsyncGenerator[ServerSentEvent, None]) -> "asyncio.Task[ServerSentEvent | None]":
    return asyncio.ensure_future(anext(events, None))
