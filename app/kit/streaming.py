"""Server-sent events: encoding, keep-alive, and an end when the server is told to stop."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.kit.responses import to_json

KEEP_ALIVE_SECONDS = 15.0
_KEEP_ALIVE = b": keep-alive\n\n"
_RECONNECT = b"event: reconnect\nretry: 1000\ndata: {}\n\n"


class Drain:
    """Set once, when the server is told to stop: open streams say so and end."""

    def __init__(self) -> None:
        self.has_started = False
        self._actions: dict[object, Callable[[], None]] = {}

    def then(self, action: Callable[[], None]) -> None:
        """Call `action` when it starts."""
        self._actions[object()] = action

    @contextmanager
    def calling(self, action: Callable[[], None]) -> Iterator[None]:
        """Call `action` if it starts while the block runs."""
        key = object()
        self._actions[key] = action
        try:
            yield
        finally:
            del self._actions[key]

    def start(self) -> None:
        if self.has_started:
            return
        self.has_started = True
        for action in list(self._actions.values()):
            action()


@dataclass(frozen=True)
class ServerSentEvent:
    """One event: its number in the stream, its name, and data to be shown as JSON."""

    id: int
    event: str
    data: Any

    def encode(self) -> bytes:
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (self.id, self.event.encode(), to_json(self.data))


class EventSource(Protocol):
    """Where the events of one connection come from. Whoever reads slowly is waited for, and nothing else is."""

    async def next(self, seconds: float) -> Sequence[ServerSentEvent] | None:
        """What has come, waited for at most so long: nothing when it was silent, None at the end."""
        ...

    def wake(self) -> None:
        """End the present wait."""
        ...

    async def aclose(self, *, is_complete: bool) -> None:
        """The connection is gone; `is_complete`: it was sent everything, or told to come again."""
        ...


def event_stream(
    source: EventSource,
    drain: Drain,
    headers: dict[str, str] | None = None,
    *,
    keep_alive: float = KEEP_ALIVE_SECONDS,
) -> StreamingResponse:
    """The response that sends the source's events, and ends when they do or when the server drains.

    `keep_alive`: seconds of silence after which a comment tells proxies that the connection is in use.
    """
    return _EventStream(source, drain, keep_alive, headers or {})


class _EventStream(StreamingResponse):
    """Sends what the source has, as it comes, and closes the source whatever becomes of the connection."""

    def __init__(self, source: EventSource, drain: Drain, keep_alive: float, headers: dict[str, str]) -> None:
        unbuffered = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", **headers}
        super().__init__((), media_type="text/event-stream", headers=unbuffered)
        self._source = source
        self._drain = drain
        self._keep_alive = keep_alive
        self._is_complete = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # A client that left has cancelled this task, and would cancel every further await of it.
            with anyio.CancelScope(shield=True):
                await self._source.aclose(is_complete=self._is_complete)

    async def stream_response(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        with self._drain.calling(self._source.wake):
            while chunk := await self._next():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self) -> bytes:
        """What to send next; nothing at the end."""
        if self._is_complete:
            return b""
        if not self._drain.has_started:
            events = await self._source.next(self._keep_alive)
            if events is None:
                self._is_complete = True
                return b""
            if not self._drain.has_started:
                return b"".join([event.encode() for event in events]) if events else _KEEP_ALIVE
        # Before what is still to be read, or a slow reader of many events would keep the server from stopping.
        self._is_complete = True
        return _RECONNECT
