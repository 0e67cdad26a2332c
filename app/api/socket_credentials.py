"""Who opens a WebSocket: the page it comes from, and the key it brings."""

from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

from starlette.websockets import WebSocket

from app.auth.credentials import Bearer, Presented, parse_authorization
from app.config import Settings
from app.kit.errors import Forbidden

SUBPROTOCOL = "verbatim"
_BEARER = "bearer."


def check_origin(websocket: WebSocket, settings: Settings) -> None:
    """Raises Forbidden for a page of another site: a browser would let any page open a socket in its visitor's name."""
    origin = websocket.headers.get("origin")
    if origin is None:
        return
    own = websocket.headers.get("host", "").lower()
    if origin.lower() not in settings.allowed_origins and _host_of(origin) != own:
        raise Forbidden("Pages of this origin may not open a socket; see VERBATIM_ALLOWED_ORIGINS.")


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin.lower()).netloc or None
    except ValueError:
        return None


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
