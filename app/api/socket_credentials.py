"""What somebody brings who opens a WebSocket."""

from collections.abc import Sequence
from urllib.parse import parse_qs

from starlette.websockets import WebSocket

from app.auth.credentials import Bearer, Presented, parse_authorization
from app.config import Settings

SUBPROTOCOL = "verbatim"
_BEARER = "bearer."


def subprotocol_of(websocket: WebSocket) -> str | None:
    """The one of the offered subprotocols that is ours."""
    return SUBPROTOCOL if SUBPROTOCOL in _offered(websocket) else None


def take_credential(websocket: WebSocket, settings: Settings) -> Presented | None:
    """What came with the handshake. What the URL holds is taken out of it: servers log URLs. Raises Unauthenticated
    for a header that cannot be read."""
    query, websocket.scope["query_string"] = websocket.scope["query_string"], b""
    if header := websocket.headers.get("authorization"):
        return parse_authorization(header)
    for each in _offered(websocket):
        if each.startswith(_BEARER):
            return Bearer(each.removeprefix(_BEARER))
    if settings.socket_token_in_url and (tokens := parse_qs(query.decode("latin-1")).get("token")):
        return Bearer(tokens[0])
    return None


def _offered(websocket: WebSocket) -> Sequence[str]:
    offered: Sequence[str] = websocket.scope.get("subprotocols", ())
    return offered
