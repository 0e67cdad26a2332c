"""How uvicorn speaks HTTP for us: the head of a request has to come in time, and within bounds.

Stock uvicorn waits for ever for the end of a head, and keeps whatever comes of it.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 20.0
"""How long a head may take from its first byte, and a new connection until its first request."""
MAX_HEAD_BYTES = 128 * 1024
"""Heads over our own limits, which are smaller, are answered; more than this ends the connection."""


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's own, with an end to heads."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_timer is None:
            self._begin_head()

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()

    def _begin_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._on_late_head)

    def _on_late_head(self) -> None:
        """End the connection, but not under an answer that is still on its way to whoever began to ask again."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()
        else:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._on_late_head)

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
