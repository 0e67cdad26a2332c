"""What needs the database waits while it elects a primary, and is refused at once when none has come for long."""

from typing import cast

from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from app.api.docs import ASSETS_PATH, DOCS_PATH, OPENAPI_PATH
from app.api.metrics import METRICS_PATH
from app.kit.errors import Unavailable
from app.kit.problems import problem
from app.services import Services

_WITHOUT_DATABASE = frozenset({"/health/live", "/health/ready", METRICS_PATH, DOCS_PATH, OPENAPI_PATH})
"""What answers without a primary, or says itself that there is none."""


class Availability:
    """ASGI middleware around authentication, which is the first to ask the database."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"} and not _does_without(scope["path"]):
            try:
                await cast("Services", scope["app"].state.services).database.primary.present()
            except Unavailable as error:
                await _refuse(error, scope, receive, send)
                return
        await self.app(scope, receive, send)


def _does_without(path: str) -> bool:
    return path in _WITHOUT_DATABASE or path.startswith(f"{ASSETS_PATH}/")


async def _refuse(error: Unavailable, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await problem(error)(scope, receive, send)
    else:
        await WebSocket(scope, receive, send).send_denial_response(problem(error))
