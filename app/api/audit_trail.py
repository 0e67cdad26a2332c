"""Who does what a request does, for the audit log; and the requests that were refused."""

from typing import cast

from bson import ObjectId
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.audit.actor import Actor, acting
from app.audit.refusals import Refusals
from app.auth.principal import Principal
from app.kit.logs import request_id
from app.kit.middleware import address_of

_FORBIDDEN = 403


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
        actor = _actor_of(scope)

        async def send_noting(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == _FORBIDDEN:
                await self._note(scope, actor)
            await send(message)

        with acting(actor):
            await self.app(scope, receive, send_noting)

    async def _note(self, scope: Scope, actor: Actor) -> None:
        """What was asked is told by the route and its id: a path may hold anything that somebody typed."""
        id = scope.get("path_params", {}).get("id")
        await self._refusals.note(
            actor.id or actor.address,
            "request.refused",
            _resource_of(scope),
            ObjectId(id) if isinstance(id, str) and ObjectId.is_valid(id) else None,
            details={"method": scope["method"], "operation": getattr(scope.get("endpoint"), "__name__", "")},
        )


def _actor_of(scope: Scope) -> Actor:
    principal = cast("Principal | None", scope.get("state", {}).get("principal"))
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
    tags = getattr(scope.get("route"), "tags", None) or [""]
    return str(tags[0])
