"""/api/auth: signing in and out. The tokens' own routes speak OAuth 2 (RFC 6749, RFC 7009)."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from pydantic import SecretStr
from starlette.responses import Response

from app.api.deps import Anyone, IdPath, IfMatch, ServicesDep, permitted
from app.api.oauth_errors import NOT_STORED, OAuthRoute, check_form, oauth_responses
from app.auth.permissions import PERMISSIONS, Permission, in_short
from app.auth.principal import Principal
from app.auth.resource import SESSIONS
from app.auth.sessions import INVALID_SCOPE, Client, Grant
from app.auth.token_schemas import GRANT_TYPES, RevokeForm, SessionRead, TokenForm, TokenRead
from app.kit.errors import Conflict, Invalid
from app.kit.listing import parse_listing
from app.kit.middleware import address_of
from app.kit.parameters import list_parameters
from app.kit.problems import problem_responses
from app.kit.responses import JSON, listed
from app.kit.routing import router
from app.kit.schemas import Page
from app.services import Services

TOKEN_PATH = "/api/auth/token"  # noqa: S105
PUBLIC_PATHS = frozenset({TOKEN_PATH, "/api/auth/revoke"})
"""Who asks these brings what they are known by in the body."""

routes = APIRouter()
_oauth = router(
    "/auth", "auth", route_class=OAuthRoute, responses=oauth_responses(), dependencies=[Depends(check_form)]
)
_rest = router("/auth", "auth", responses=problem_responses(401, 403, 422, 503))
SessionOwner = Annotated[Principal, permitted("sessions")]


@_oauth.post("/token", response_model=TokenRead)
async def create_token(form: Annotated[TokenForm, Form()], request: Request, services: ServicesDep) -> Response:
    """Sign in with e-mail and password, or go on with a refresh token (OAuth 2)."""
    scopes = _scopes(form.scope)
    match _given(form.grant_type, "grant_type"):
        case "password":
            return _granted(await _sign_in(form, scopes, request, services))
        case "refresh_token":
            token = _given(form.refresh_token, "refresh_token")
            return _granted(await services.access.sessions.refresh(token, scopes))
    raise Invalid.field("body.grant_type", f"is one of {', '.join(GRANT_TYPES)}", reason="unsupported_grant_type")


@_oauth.post("/revoke")
async def revoke_token(form: Annotated[RevokeForm, Form()], services: ServicesDep) -> Response:
    """End the session of a refresh or access token; 200 also when it is none (any more)."""
    await services.access.sessions.revoke(_given(form.token, "token"))
    return JSON({}, headers=NOT_STORED)


@_rest.post("/logout", status_code=204, responses=problem_responses(409))
async def log_out(
    principal: Anyone,
    services: ServicesDep,
    everywhere: Annotated[bool, Query(description="End all of your sessions")] = False,
) -> Response:
    """End the session whose access token you use. API keys are not sessions: delete them."""
    if principal.credential.kind in {"key", "issuer"} or (principal.session_id is None and not everywhere):
        raise Conflict(
            "You did not come with a session's token, so there is nothing to log out of.", reason="no_session"
        )
    if everywhere:
        await services.access.sessions.end_all(principal.user_id)
    elif principal.session_id is not None:
        await services.access.sessions.end(principal.scope(SESSIONS), principal.session_id)
    return Response(status_code=204)


@_rest.get("/sessions", response_model=Page[SessionRead], openapi_extra=list_parameters(SESSIONS))
async def list_sessions(request: Request, principal: SessionOwner, services: ServicesDep) -> Response:
    """Where you are signed in; admins see everybody's."""
    listing = parse_listing(SESSIONS, request.query_params.multi_items())
    page = await services.access.sessions.rows.page(principal.scope(SESSIONS), listing)
    return listed(SESSIONS, page, request.url, listing.fields)


@_rest.delete("/sessions/{id}", status_code=204, responses=problem_responses(404, 412))
async def end_session(id: IdPath, principal: SessionOwner, services: ServicesDep, versions: IfMatch) -> Response:
    """Sign out somewhere: at once here, within a second on other processes."""
    await services.access.sessions.end(principal.scope(SESSIONS), id, versions)
    return Response(status_code=204)


routes.include_router(_oauth)
routes.include_router(_rest)


async def _sign_in(
    form: TokenForm, scopes: frozenset[Permission] | None, request: Request, services: Services
) -> Grant:
    name, password = _given(form.username, "username"), _given(form.password, "password")
    client = Client(address_of(request.scope), request.headers.get("user-agent", ""))
    account = await services.access.passwords.verify(name, password, client.address)
    return await services.access.sessions.open(account, scopes, client)


def _granted(grant: Grant) -> Response:
    body = {
        "access_token": grant.access_token,
        "token_type": "Bearer",
        "expires_in": grant.seconds,
        "refresh_token": grant.refresh_token,
        "scope": " ".join(in_short(grant.permissions)),
    }
    return JSON(body, headers=NOT_STORED)


def _given(value: str | SecretStr | None, name: str) -> str:
    """Raises Invalid when it is missing; OAuth takes an empty parameter for a missing one."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not text:
        raise Invalid.field(f"body.{name}", "is required")
    return text


def _scopes(scope: str | None) -> frozenset[Permission] | None:
    named = (scope or "").split()
    if unknown := sorted(set(named) - set(PERMISSIONS)):
        raise Invalid.field(
            "body.scope", f"{unknown[0][:50]!r} is none of {', '.join(PERMISSIONS)}", reason=INVALID_SCOPE
        )
    return frozenset(each for each in PERMISSIONS if each in named) or None
