"""What routes ask for: all dependencies, as annotated types."""

from collections.abc import Sequence
from typing import Annotated, Any, cast

from fastapi import Depends, Header, Path, Request, Security
from fastapi.openapi.models import HTTPBearer as BearerScheme
from fastapi.security.base import SecurityBase

from app.auth.permissions import Permission
from app.auth.principal import Principal
from app.kit.errors import Unavailable
from app.kit.etag import Versions, parse_if_match
from app.kit.idempotency import MAX_KEY_CHARACTERS, Once, check_key, fingerprint
from app.kit.routing import read_merge_patch
from app.kit.schemas import ID
from app.kit.streaming import Drain
from app.services import Services


async def _services(request: Request) -> Services:
    return cast("Services", request.app.state.services)


async def _drain(request: Request) -> Drain:
    return cast("Drain", request.app.state.drain)


async def _open_drain(request: Request) -> Drain:
    drain = await _drain(request)
    if drain.has_started:
        raise Unavailable("The server is shutting down; ask another one.")
    return drain


ServicesDep = Annotated[Services, Depends(_services)]
DrainDep = Annotated[Drain, Depends(_drain)]
OpenDrain = Annotated[Drain, Depends(_open_drain)]
"""The drain before it starts; the request is refused when it has."""


BEARER = "bearer"
"""The security scheme that routes name in OpenAPI; `openapi_security` adds the others."""


class _Permitted(SecurityBase):
    """Gives the Principal that the middleware has found, as far as it may do what the permissions say."""

    def __init__(self, permissions: Sequence[Permission]) -> None:
        self.model = BearerScheme(description="An API key, or an access token")
        self.scheme_name = BEARER
        self._permissions = permissions

    async def __call__(self, request: Request) -> Principal:
        return _principal_of(request).permitted(*self._permissions)


def _principal_of(request: Request) -> Principal:
    return cast("Principal", request.state.principal)


def permitted(*permissions: Permission) -> Any:
    """In `Annotated[Principal, ...]`: who asks, if they may do all of this. OpenAPI names the same scopes."""
    return Security(_Permitted(permissions), scopes=permissions)


Anyone = Annotated[Principal, permitted()]
"""Whoever has got in."""

IfNoneMatch = Annotated[str | None, Header(description="ETags you have: 304 instead of the same again")]


async def _if_match(
    if_match: Annotated[
        str | None, Header(description="The ETag you mean: 412 when the stored version is another")
    ] = None,
) -> Versions:
    return parse_if_match(if_match)


IfMatch = Annotated[Versions, Depends(_if_match)]

_KEY_DESCRIPTION = "Repeat a request with its key and it happens once (24 hours)"
IdempotencyKeyHeader = Annotated[
    str | None, Header(description=_KEY_DESCRIPTION, min_length=1, max_length=MAX_KEY_CHARACTERS)
]


LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="The number of the event you have seen last")
]


async def _once(
    request: Request,
    services: ServicesDep,
    idempotency_key: IdempotencyKeyHeader = None,
) -> Once:
    route = f"{request.method} {request.url.path}"
    return Once(
        transactions=services.database.transactions,
        owner=str(_principal_of(request).user_id),
        route=route,
        key=check_key(idempotency_key),
        fingerprint=fingerprint(route.encode(), request.url.query.encode(), await request.body()),
    )


OnceDep = Annotated[Once, Depends(_once)]


MergePatch = Annotated[dict[str, Any], Depends(read_merge_patch)]

IdPath = Annotated[ID, Path(description="24 hexadecimal digits")]
