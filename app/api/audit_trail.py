"""Who does what a request does, for the audit log; and the requests that were refused, over HTTP and within sockets."""

from typing import cast

from bson import ObjectId
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.audit.actor import Actor, acting
from app.audit.refusals import Refusals
from app.auth.principal import Principal
from app.kit.logs import request_id
from app.kit.middleware import address_of

_FORBIDDEN = 403
_ANSWERS = frozenset({"http.response.start", "websocket.http.response.start"})
"""What begins the answer to a request, and to the handshake of a socket that is not opened."""
_ACTION = "request.refused"
_SOCKET = "WEBSOCKET"


class AuditTrail:
    """ASGI middleware within the authentication: names the actor, and notes what they were not allowed to do before
    they are told so."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._refusals = Refusals()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["refusals"] = self._refusals
        actor = _actor_of(scope, cast("Principal | None", state.get("principal")))

        async def send_noting(message: Message) -> None:
            if message["type"] in _ANSWERS and message["status"] == _FORBIDDEN:
                await self._note(scope, actor)
            await send(message)

        with acting(actor):
            await self.app(scope, receive, send_noting)

    async def _note(self, scope: Scope, actor: Actor) -> None:
        """What was asked is told by the route and its id: a path may hold anything that somebody typed."""
        id = scope.get("path_params", {}).get("id")
        await self._refusals.note(
            actor.id or actor.address,
            _ACTION,
            _resource_of(scope),
            ObjectId(id) if isinstance(id, str) and ObjectId.is_valid(id) else None,
            details={
                "method": scope.get("method", _SOCKET),
                "operation": getattr(scope.get("endpoint"), "__name__", ""),
            },
        )


async def note_refusal_in_socket(
    scope: Scope, principal: Principal, operation: str, resource: str, target_id: ObjectId | None
) -> None:
    """Note that somebody asked for what they may not do over an open socket, before they are told so."""
    refusals = cast("Refusals", scope["state"]["refusals"])
    with acting(_actor_of(scope, principal)):
        details = {"method": _SOCKET, "operation": operation}
        await refusals.note(principal.user_id, _ACTION, resource, target_id, details=details)


def _actor_of(scope: Scope, principal: Principal | None) -> Actor:
    if principal is None:
        return Actor("anonymous", address=address_of(scope) or None, request_id=request_id() or None)
    return Actor(
        "user",
        principal.user_id,
        principal.credential.kind,
        principal.credential.id,
        address_of(scope) or None,
        request_id() or None,
    )


def _resource_of(scope: Scope) -> str:
    """The tag of the route, which is the name of its resource."""
    tags = getattr(scope.get("route"), "tags", None) or ["socket" if scope["type"] == "websocket" else ""]
    return str(tags[0])
