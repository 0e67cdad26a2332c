"""/api/keys: API keys."""

from typing import Annotated

from fastapi import Request
from starlette.responses import Response

from app.api.deps import IdPath, IfMatch, IfNoneMatch, OnceDep, ServicesDep, permitted
from app.auth.permissions import in_short
from app.auth.principal import Principal
from app.auth.resource import KEYS
from app.auth.schemas import KeyCreate, KeyCreated, KeyRead
from app.kit.errors import Invalid
from app.kit.listing import parse_listing
from app.kit.parameters import list_parameters
from app.kit.problems import problem_responses
from app.kit.repository import EVERYTHING
from app.kit.responses import created, found, listed, path_of
from app.kit.routing import router
from app.kit.schemas import Page

routes = router("/keys", "keys", responses=problem_responses(401, 403, 422, 503))
Reader = Annotated[Principal, permitted("keys:read")]
Writer = Annotated[Principal, permitted("keys:write")]


@routes.post("", status_code=201, response_model=KeyCreated)
async def create_key(new: KeyCreate, principal: Writer, once: OnceDep, services: ServicesDep) -> Response:
    """Make a key; the secret is shown this once. A replay by Idempotency-Key shows it as null."""
    principal.require_no_quota("makes no keys")
    user_id = principal.owner_of_new(new.user_id)
    for scope in new.scopes or ():
        principal.require(scope)

    async def create() -> Response:
        if user_id != principal.user_id and await services.users.rows.find(EVERYTHING, {"_id": user_id}) is None:
            raise Invalid.field("body.user_id", "there is no such user")
        scopes = new.scopes or in_short(principal.permissions)
        row, secret = await services.keys.create(user_id, new.model_copy(update={"scopes": scopes}))
        return created(KEYS, row, path_of("keys", row["_id"]), key=secret)

    return await once.run(create, concealed=("key",))


@routes.get("", response_model=Page[KeyRead], openapi_extra=list_parameters(KEYS))
async def list_keys(request: Request, principal: Reader, services: ServicesDep) -> Response:
    """Your keys; admins see everybody's."""
    listing = parse_listing(KEYS, request.query_params.multi_items())
    page = await services.keys.rows.page(principal.scope(KEYS), listing)
    return listed(KEYS, page, request.url, listing.fields)


@routes.get("/{id}", response_model=KeyRead, responses=problem_responses(404))
async def read_key(id: IdPath, principal: Reader, services: ServicesDep, if_none_match: IfNoneMatch = None) -> Response:
    """One key, without its secret."""
    row = await services.keys.rows.get(principal.scope(KEYS), id)
    return found(KEYS, row, if_none_match=if_none_match)


@routes.delete("/{id}", status_code=204, responses=problem_responses(404, 412))
async def delete_key(id: IdPath, principal: Writer, services: ServicesDep, versions: IfMatch) -> Response:
    """Revoke a key: at once here, within a second on other processes."""
    await services.keys.delete(principal.scope(KEYS), id, versions)
    return Response(status_code=204)
