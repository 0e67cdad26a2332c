"""How uvicorn speaks WebSocket for us: bounded messages, no compression, and no wait for a client that is stuck."""

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAX_MESSAGE_BYTES = 1024 * 1024
ENDING_SECONDS = 5.0
"""How long a connection that has ended here may take to take what was sent last."""

GOODBYE_SECONDS = 2.0
"""How long the session of a connection may take to say that the server stops."""


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's own, which waits without limit for a peer that does not read to take the rest."""

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self._end_in_time()

    def shutdown(self) -> None:
        if self.handshake_complete and not self.close_sent:
            # The session tells its client to come again, and closes. On a busy machine this would come first.
            self.loop.call_later(GOODBYE_SECONDS, self._shut_down)
        else:
            self._shut_down()

    def _shut_down(self) -> None:
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
