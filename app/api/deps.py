"""What routes ask for: all dependencies, as annotated types."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, cast

from fastapi import Depends, Header, Path, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.auth.model import Permission
from app.auth.principal import Principal
from app.kit.errors import Unauthenticated
from app.kit.etag import Versions, parse_if_match
from app.kit.idempotency import MAX_KEY_CHARACTERS, Once, check_key, fingerprint
from app.kit.routing import read_merge_patch
from app.kit.schemas import ID
from app.kit.streaming import Drain
from app.services import Services

_bearer = HTTPBearer(auto_error=False, description="An API key")


async def _services(request: Request) -> Services:
    return cast("Services", request.app.state.services)


async def _drain(request: Request) -> Drain:
    return cast("Drain", request.app.state.drain)


ServicesDep = Annotated[Services, Depends(_services)]
DrainDep = Annotated[Drain, Depends(_drain)]


async def _principal(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> Principal:
    if credentials is None:
        raise Unauthenticated()
    services = cast("Services", request.app.state.services)
    return await services.keys.authenticate(credentials.credentials)


def _permitted(permission: Permission) -> Callable[..., Coroutine[Any, Any, Principal]]:
    async def permitted(principal: Annotated[Principal, Depends(_principal)]) -> Principal:
        principal.require(permission)
        return principal

    return permitted


async def _writer(principal: Annotated[Principal, Depends(_principal)]) -> Principal:
    return principal.as_writer()


Reader = Annotated[Principal, Depends(_permitted("read"))]
Writer = Annotated[Principal, Depends(_writer)]
Exporter = Annotated[Principal, Depends(_permitted("export"))]
Admin = Annotated[Principal, Depends(_permitted("admin"))]

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


async def _once(
    request: Request,
    principal: Annotated[Principal, Depends(_principal)],
    services: ServicesDep,
    idempotency_key: IdempotencyKeyHeader = None,
) -> Once:
    route = f"{request.method} {request.url.path}"
    return Once(
        transactions=services.database.transactions,
        owner=str(principal.user_id),
        route=route,
        key=check_key(idempotency_key),
        fingerprint=fingerprint(route.encode(), request.url.query.encode(), await request.body()),
    )


OnceDep = Annotated[Once, Depends(_once)]


MergePatch = Annotated[dict[str, Any], Depends(read_merge_patch)]

IdPath = Annotated[ID, Path(description="24 hexadecimal digits")]
