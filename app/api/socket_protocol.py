"""How uvicorn speaks WebSocket for us: bounded messages, no compression, and no wait for a client that is stuck."""

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAX_MESSAGE_BYTES = 1024 * 1024
ENDING_SECONDS = 5.0
"""How long a connection that has ended here may take to take what was sent last."""


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's own, which waits without limit for a peer that does not read to take the rest."""

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self._end_in_time()

    def shutdown(self) -> None:
        super().shutdown()
        self._end_in_time()

    def _end_in_time(self) -> None:
        self.loop.call_later(ENDING_SECONDS, self.transport.abort)


SERVER_OPTIONS: dict[str, Any] = {
    "ws": SocketProtocol,
    # What is over our own limit is answered; what is over this ends the connection with 1009.
    "ws_max_size": 4 * MAX_MESSAGE_BYTES,
    # zlib's windows take 33 KiB a connection, almost as much as all the rest of an idle one; deltas are short.
    "ws_per_message_deflate": False,
    "ws_ping_interval": 20.0,
    "ws_ping_timeout": 20.0,
}
"""Options of `uvicorn.Config`."""
