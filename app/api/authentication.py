"""Who is asking is settled before anything of the request is read: deny by default, one door for every credential."""

import re
from typing import cast

from pymongo.errors import PyMongoError
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.auth import PUBLIC_PATHS as SIGNING_IN
from app.api.docs import ASSETS_PATH, DOCS_PATH, OPENAPI_PATH
from app.api.metrics import METRICS_PATH
from app.api.origins import check_origin
from app.api.rate_limits import admit
from app.api.sharing import LINK_PATH
from app.auth.credentials import Basic, parse_authorization
from app.auth.principal import Principal
from app.kit.errors import Unauthenticated, VerbatimError
from app.kit.logs import bind_ids
from app.kit.middleware import address_of
from app.kit.problems import as_verbatim_error, problem
from app.services import Services

_PUBLIC_PATHS = SIGNING_IN | {"/health/live", "/health/ready", METRICS_PATH, DOCS_PATH, OPENAPI_PATH}
"""Those that everybody may read, the metrics, which ask for a key of their own, and signing in."""
_PUBLIC_PREFIX = f"{ASSETS_PATH}/"
_BASIC_CHALLENGE = 'Basic realm="verbatim", charset="UTF-8"'
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
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
                admit(scope["app"].state.services, principal, scope)
            except (VerbatimError, PyMongoError) as error:
                known = as_verbatim_error(error, is_write=False)
                if known is None:
                    raise
                await _refuse(known, scope)(scope, receive, send)
                return
            scope.setdefault("state", {})["principal"] = principal
            bind_ids(principal_id=str(principal.user_id))
        await self.app(scope, receive, send)


def _is_public(method: str, path: str) -> bool:
    return (
        path in _PUBLIC_PATHS
        or path.startswith(_PUBLIC_PREFIX)
        or (method == "POST" and _SIGNED_PATH.fullmatch(path) is not None)
        or (method == "GET" and LINK_PATH.fullmatch(path) is not None)
    )


async def _principal(scope: Scope) -> Principal:
    headers = Headers(scope=scope)
    presented = parse_authorization(headers.get("authorization", ""))
    services = cast("Services", scope["app"].state.services)
    if isinstance(presented, Basic) and scope["method"] not in _SAFE_METHODS:
        check_origin(headers, services.settings)  # a browser sends a password it was given with any page's form
    return await services.access.authenticate(presented, address_of(scope))


def _refuse(error: VerbatimError, scope: Scope) -> Response:
    """The error; a 401 says that a password would do as well, but not to scripts of a web page: the browser would ask
    its user for one."""
    response = problem(error)
    if isinstance(error, Unauthenticated) and Headers(scope=scope).get("sec-fetch-mode", "navigate") == "navigate":
        response.headers.append("WWW-Authenticate", _BASIC_CHALLENGE)
    return response
