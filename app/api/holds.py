"""/api/holds: legal holds, which keep users and conversations from being removed (admins)."""

from typing import Annotated

from fastapi import Request
from starlette.responses import Response

from app.api.deps import IdPath, IfMatch, IfNoneMatch, OnceDep, ServicesDep, permitted
from app.auth.principal import Principal
from app.kit.listing import parse_listing
from app.kit.parameters import list_parameters
from app.kit.problems import problem_responses
from app.kit.responses import created, found, listed, path_of
from app.kit.routing import router
from app.kit.schemas import Page
from app.privacy.resource import HOLDS
from app.privacy.schemas import HoldCreate, HoldRead

routes = router("/holds", "holds", responses=problem_responses(401, 403, 422, 503))
Reader = Annotated[Principal, permitted("privacy:read")]
Writer = Annotated[Principal, permitted("privacy:write")]


@routes.post("", status_code=201, response_model=HoldRead, responses=problem_responses(404, 409))
async def create_hold(new: HoldCreate, _: Writer, once: OnceDep, services: ServicesDep) -> Response:
    """Hold a user with all conversations, or one conversation: 409 for whoever wants to remove them."""

    async def create() -> Response:
        row = await services.privacy.holds.place(new)
        return created(HOLDS, row, path_of("holds", row["_id"]))

    return await once.run(create)


@routes.get("", response_model=Page[HoldRead], openapi_extra=list_parameters(HOLDS))
async def list_holds(request: Request, principal: Reader, services: ServicesDep) -> Response:
    """What is held, and why."""
    listing = parse_listing(HOLDS, request.query_params.multi_items())
    page = await services.privacy.holds.rows.page(principal.scope(HOLDS), listing)
    return listed(HOLDS, page, request.url, listing.fields)


@routes.get("/{id}", response_model=HoldRead, responses=problem_responses(404))
async def read_hold(
    id: IdPath, principal: Reader, services: ServicesDep, if_none_match: IfNoneMatch = None
) -> Response:
    """One hold."""
    row = await services.privacy.holds.rows.get(principal.scope(HOLDS), id)
    return found(HOLDS, row, if_none_match=if_none_match)


@routes.delete("/{id}", status_code=204, responses=problem_responses(404, 412))
async def delete_hold(id: IdPath, principal: Writer, services: ServicesDep, versions: IfMatch) -> Response:
    """Lift a hold; nothing is removed by that."""
    await services.privacy.holds.lift(principal.scope(HOLDS), id, versions)
    return Response(status_code=204)
