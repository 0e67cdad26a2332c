"""What a server answers while its database is migrated and it cannot serve yet: that it lives, and is not ready."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.kit.errors import Unavailable
from app.kit.problems import problem
from app.kit.responses import JSON

_LIVE: Final = "/health/live"
_RETRY_SECONDS = 2


class Starting:
    """ASGI middleware: until `serve_with` has given the application its services, everything but liveness is 503."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"} or hasattr(scope["app"].state, "services"):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1013, "reason": "The server is starting."})
        elif scope["path"] == _LIVE:
            await JSON({"status": "ok"})(scope, receive, send)
        else:
            what = getattr(scope["app"].state, "starting", "")
            refusal = Unavailable(f"The server is starting{what}; retry.", retry_after=_RETRY_SECONDS)
            await problem(refusal)(scope, receive, send)
