"""Who is asking is settled before anything of the request is read: deny by default, one door for every credential."""

import re
from typing import cast

from pymongo.errors import PyMongoError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.docs import ASSETS_PATH, DOCS_PATH, OPENAPI_PATH
from app.api.metrics import METRICS_PATH
from app.auth.principal import Principal
from app.kit.errors import Unauthenticated, VerbatimError
from app.kit.problems import as_verbatim_error, problem
from app.services import Services

_PUBLIC_PATHS = frozenset({"/health/live", "/health/ready", METRICS_PATH, DOCS_PATH, OPENAPI_PATH})
"""Those that everybody may read, and the metrics, which ask for a key of their own."""
_PUBLIC_PREFIX = f"{ASSETS_PATH}/"
_SIGNED_PATH = re.compile("/api/hooks/[^/]+")
"""Where other systems post: the route itself asks for a signature."""


class Authentication:
    """ASGI middleware: puts the Principal into the request's state, or answers 401."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_public(scope["method"], scope["path"]):
            try:
                principal = await _principal(scope)
            except (VerbatimError, PyMongoError) as error:
                known = as_verbatim_error(error, is_write=False)
                if known is None:
                    raise
                await problem(known)(scope, receive, send)
                return
            scope.setdefault("state", {})["principal"] = principal
        await self.app(scope, receive, send)


def _is_public(method: str, path: str) -> bool:
    return (
        path in _PUBLIC_PATHS
        or path.startswith(_PUBLIC_PREFIX)
        or (method == "POST" and _SIGNED_PATH.fullmatch(path) is not None)
    )


async def _principal(scope: Scope) -> Principal:
    scheme, _, secret = Headers(scope=scope).get("authorization", "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        raise Unauthenticated
    services = cast("Services", scope["app"].state.services)
    return await services.keys.authenticate(secret)
