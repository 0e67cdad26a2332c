"""The sending side of a WebSocket: one message at a time, nothing is queued, and who does not read is let go."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from app.kit.responses import to_json

SLOW_SECONDS = 20.0
"""How long a message may wait for the client to read."""
CLOSE_SECONDS = 10.0
"""How long the reason of the end may wait for the client to read."""
_REASON_BYTES = 120
_BREATH = 16
"""Messages after which other tasks get their turn."""


class Gone(Exception):
    """Nothing can be sent any more."""


class Outbox:
    """Everything that is sent over one socket. Whoever sends waits until the client has room for it."""

    def __init__(self, websocket: WebSocket, on_slow: Callable[[], None]) -> None:
        self.count = 0
        self._websocket = websocket
        self._on_slow = on_slow
        self._lock = asyncio.Lock()
        self._is_over = False

    async def answer(self, message: Mapping[str, Any]) -> None:
        """Send a JSON object. Raises Gone."""
        await self.send(to_json(message).decode())

    async def send(self, text: str) -> None:
        """Send a text. Raises Gone, also when the client has not read for too long."""
        async with self._lock:
            if self._is_over:
                raise Gone
            try:
                async with asyncio.timeout(SLOW_SECONDS):
                    await self._websocket.send_text(text)
            except TimeoutError:
                self._is_over = True
                self._on_slow()
                raise Gone from None
            except (WebSocketDisconnect, RuntimeError) as error:  # closed by the client, or by the server's protocol
                self._is_over = True
                raise Gone from error
            self.count += 1
        if self.count % _BREATH == 0:
            await asyncio.sleep(0)

    async def close(self, code: int, reason: str) -> None:
        """Say why, if the client reads it soon."""
        self._is_over = True
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._websocket.close(code, reason.encode()[:_REASON_BYTES].decode(errors="ignore"))
        except (TimeoutError, WebSocketDisconnect, RuntimeError):
            return  # gone, or stuck: the connection is cut
