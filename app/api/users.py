"""/api/users: people and their profiles."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from bson import ObjectId
from fastapi import Query, Request
from starlette.responses import Response

from app.api.bulk import BulkRequest, BulkResponse, BulkWriter
from app.api.deps import IdPath, IfMatch, IfNoneMatch, MergePatch, OnceDep, ServicesDep, permitted
from app.api.exporting import export_documentation, send_export
from app.auth.principal import Principal
from app.kit.editing import validated
from app.kit.etag import Versions
from app.kit.listing import parse_listing
from app.kit.parameters import list_parameters
from app.kit.problems import problem_responses
from app.kit.repository import Row, Scope
from app.kit.responses import JSON, created, found, listed, path_of, versioned
from app.kit.routing import merge_patch_body, router
from app.kit.schemas import Page
from app.limits.schemas import UsageOfMe
from app.services import Services
from app.users.resource import USERS
from app.users.schemas import MeUpdate, ProfileInput, ProfileRead, UserCreate, UserRead, UserUpdate

routes = router("/users", "users", responses=problem_responses(401, 403, 422, 503))
Reader = Annotated[Principal, permitted("users:read")]
Writer = Annotated[Principal, permitted("users:write")]
Exporter = Annotated[Principal, permitted("users:export")]
Admin = Annotated[Principal, permitted("users:admin")]
UsageReader = Annotated[Principal, permitted("stats:read")]
_ONE = problem_responses(404)
_CHANGED = problem_responses(404, 409, 412)


@routes.post("", status_code=201, response_model=UserRead, responses=problem_responses(409))
async def create_user(new: UserCreate, principal: Admin, once: OnceDep, services: ServicesDep) -> Response:
    """Add a user (admins)."""
    _check_role(principal, new.role)

    async def create() -> Response:
        row = await services.users.create(new)
        return created(USERS, row, path_of("users", row["_id"]))

    return await once.run(create)


@routes.get("", response_model=Page[UserRead], responses=problem_responses(429), openapi_extra=list_parameters(USERS))
async def list_users(request: Request, principal: Reader, services: ServicesDep) -> Response:
    """Users you may see: all for admins and analysts, yourself otherwise."""
    listing = parse_listing(USERS, request.query_params.multi_items())
    page = await services.users.rows.page(principal.scope(USERS), listing)
    return listed(USERS, page, request.url, listing.fields)


@routes.get("/export", **export_documentation(USERS))
async def export_users(request: Request, principal: Exporter, services: ServicesDep) -> Response:
    """The list as a file."""
    return await send_export(request, services, principal, USERS)


@routes.post("/bulk", response_model=BulkResponse)
async def write_users(bulk: BulkRequest, principal: Admin, once: OnceDep, services: ServicesDep) -> Response:
    """Up to 1000 operations, each with its own result (admins)."""
    scope = principal.scope_of_accounts(USERS)

    async def create(body: Mapping[str, Any]) -> Row:
        _check_role(principal, body.get("role"))
        return await services.users.create(validated(UserCreate, body))

    async def update(id: ObjectId, body: Mapping[str, Any], versions: Versions) -> Row:
        _check_role(principal, body.get("role"))
        return await services.users.patch(scope, id, body, versions, UserUpdate)

    writer = BulkWriter(
        create,
        update,
        lambda id, versions: _erase(services, scope, id, versions),
    )
    with services.keys.forgetting():
        return await writer.run(bulk, once)


@routes.get("/me", response_model=UserRead)
async def read_me(principal: Reader, services: ServicesDep, if_none_match: IfNoneMatch = None) -> Response:
    """Yourself."""
    row = await services.users.rows.get(principal.scope(USERS), principal.user_id)
    return found(USERS, row, if_none_match=if_none_match)


@routes.put("/me", response_model=UserRead, responses=_CHANGED)
async def replace_me(update: MeUpdate, principal: Writer, services: ServicesDep, versions: IfMatch) -> Response:
    """Replace what you may change about yourself."""
    _check_me(principal, update.model_fields_set)
    with services.keys.forgetting():  # a changed password ends sessions
        row = await services.users.replace(principal.scope(USERS), principal.user_id, update, versions)
    return found(USERS, row)


@routes.patch("/me", response_model=UserRead, responses=_CHANGED, openapi_extra=merge_patch_body(MeUpdate))
async def patch_me(patch: MergePatch, principal: Writer, services: ServicesDep, versions: IfMatch) -> Response:
    """Change some of it (JSON Merge Patch)."""
    _check_me(principal, patch)
    with services.keys.forgetting():
        row = await services.users.patch(principal.scope(USERS), principal.user_id, patch, versions, MeUpdate)
    return found(USERS, row)


@routes.get("/me/usage", response_model=UsageOfMe)
async def read_my_usage(principal: UsageReader, services: ServicesDep) -> Response:
    """What you have used of language models today and this month (UTC), and what you may; the same of the key that you
    come with."""
    return JSON(await services.limits.quotas.usage(principal.payer))


@routes.get("/{id}", response_model=UserRead, responses=_ONE)
async def read_user(
    id: IdPath, principal: Reader, services: ServicesDep, if_none_match: IfNoneMatch = None
) -> Response:
    """One user."""
    row = await services.users.rows.get(principal.scope(USERS), id)
    return found(USERS, row, if_none_match=if_none_match)


@routes.put("/{id}", response_model=UserRead, responses=_CHANGED)
async def replace_user(
    id: IdPath, update: UserUpdate, principal: Admin, services: ServicesDep, versions: IfMatch
) -> Response:
    """Replace a user (admins); a password that is left out stays."""
    _check_role(principal, update.role)
    with services.keys.forgetting():
        row = await services.users.replace(principal.scope_of_accounts(USERS), id, update, versions)
    return found(USERS, row)


@routes.patch("/{id}", response_model=UserRead, responses=_CHANGED, openapi_extra=merge_patch_body(UserUpdate))
async def patch_user(
    id: IdPath, patch: MergePatch, principal: Admin, services: ServicesDep, versions: IfMatch
) -> Response:
    """Change some of a user (admins; JSON Merge Patch)."""
    _check_role(principal, patch.get("role"))
    with services.keys.forgetting():
        row = await services.users.patch(principal.scope_of_accounts(USERS), id, patch, versions, UserUpdate)
    return found(USERS, row)


@routes.delete("/{id}", status_code=204, responses=_CHANGED)
async def delete_user(
    id: IdPath,
    principal: Admin,
    services: ServicesDep,
    versions: IfMatch,
    conversations: Annotated[
        Literal["delete", "keep"] | None,
        Query(description="What becomes of their conversations; needed when there are any"),
    ] = None,
) -> Response:
    """Erase a user with all that is theirs (admins); `Link: rel="describedby"` leads to the receipt."""
    receipt = await services.privacy.erasures.erase(principal.scope_of_accounts(USERS), id, conversations, versions)
    link = f'<{path_of("erasures", receipt)}>; rel="describedby"'
    return Response(status_code=204, headers={"Link": link})


def _check_role(principal: Principal, role: object) -> None:
    """Admins are made by admins, not by who manages the accounts of others. Raises Forbidden."""
    if role == "admin":
        principal.require("admin")


def _check_me(principal: Principal, changed: Collection[str]) -> None:
    """Who could sign in with a password they have just set would leave all bounds of their credential behind.
    Raises Forbidden."""
    principal.require_no_quota("changes no account")
    if "password" in changed:
        principal.require_whole_role("sets no password")


async def _erase(services: Services, scope: Scope, id: ObjectId, versions: Versions) -> None:
    await services.privacy.erasures.erase(scope, id, None, versions)


@routes.get("/{id}/profile", response_model=ProfileRead, responses=_ONE)
async def read_profile(
    id: IdPath, principal: Reader, services: ServicesDep, if_none_match: IfNoneMatch = None
) -> Response:
    """A user's profile."""
    row = await services.users.rows.get(principal.scope(USERS), id)
    return _profile(row, if_none_match)


@routes.put("/{id}/profile", response_model=ProfileRead, responses=_CHANGED)
async def replace_profile(
    id: IdPath, profile: ProfileInput, principal: Writer, services: ServicesDep, versions: IfMatch
) -> Response:
    """Replace a profile."""
    row = await services.users.replace_profile(principal.scope(USERS), id, profile, versions)
    return _profile(row)


@routes.patch(
    "/{id}/profile", response_model=ProfileRead, responses=_CHANGED, openapi_extra=merge_patch_body(ProfileInput)
)
async def patch_profile(
    id: IdPath, patch: MergePatch, principal: Writer, services: ServicesDep, versions: IfMatch
) -> Response:
    """Change some of a profile (JSON Merge Patch)."""
    row = await services.users.patch_profile(principal.scope(USERS), id, patch, versions)
    return _profile(row)


def _profile(row: Row, if_none_match: str | None = None) -> Response:
    return versioned(row["profile"], row["version"], if_none_match)
