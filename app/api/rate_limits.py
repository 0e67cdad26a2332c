"""How many requests one may send, settled before anything of them is read: of an address first, then of a user."""

from typing import cast

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.metrics import METRICS_PATH
from app.auth.principal import Principal
from app.kit.errors import TooManyRequests
from app.kit.middleware import address_of
from app.kit.neighbourhoods import neighbourhood
from app.kit.problems import problem
from app.limits.rates import Verdict
from app.services import Services

_UNLIMITED = frozenset({"/health/live", "/health/ready", METRICS_PATH})
"""Asked by those who watch the server, also when others ask too much of it."""
_STATE = "rates"


class RateLimiting:
    """ASGI middleware around authentication: answers 429, and says on every answer how much is left."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"} or scope["path"] in _UNLIMITED:
            await self.app(scope, receive, send)
            return
        rates = cast("Services", scope["app"].state.services).limits.rates
        verdict = rates.take(rates.address, neighbourhood(address_of(scope)))
        verdicts: list[Verdict] = [] if verdict is None else [verdict]
        scope.setdefault("state", {})[_STATE] = verdicts

        async def send_with_rates(message: Message) -> None:
            if message["type"] == "http.response.start" and verdicts:
                headers = MutableHeaders(scope=message)
                headers["RateLimit-Policy"] = ", ".join([each.policy.field for each in verdicts])
                headers["RateLimit"] = ", ".join([each.field for each in verdicts])
            await send(message)

        if verdict is None or verdict.is_admitted:
            await self.app(scope, receive, send_with_rates)
        elif scope["type"] == "http":
            await problem(_refusal(verdict))(scope, receive, send_with_rates)
        else:
            await send({"type": "websocket.close", "code": 1013, "reason": "Too many requests."})


def admit(services: Services, principal: Principal, scope: Scope | None = None) -> None:
    """Count a request of the principal's; over HTTP `scope` is told how much is left. Raises TooManyRequests."""
    verdict = services.limits.rates.take(services.limits.rates.user, str(principal.user_id))
    if verdict is None:
        return
    if scope is not None:
        scope["state"][_STATE].insert(0, verdict)
    if not verdict.is_admitted:
        raise _refusal(verdict)


def _refusal(verdict: Verdict) -> TooManyRequests:
    whose = "A user" if verdict.policy.name == "user" else "One address"
    sentence = f"{whose} may send {verdict.policy.quota} requests in a minute; send the next in {verdict.seconds} s."
    return TooManyRequests(sentence, retry_after=verdict.seconds)
