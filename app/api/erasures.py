"""/api/erasures: the receipts of erased users (admins)."""

from typing import Annotated

from fastapi import Request
from starlette.responses import Response

from app.api.deps import IdPath, IfNoneMatch, ServicesDep, permitted
from app.auth.principal import Principal
from app.kit.listing import parse_listing
from app.kit.parameters import list_parameters
from app.kit.problems import problem_responses
from app.kit.responses import found, listed
from app.kit.routing import router
from app.kit.schemas import Page
from app.privacy.resource import ERASURES
from app.privacy.schemas import ErasureRead

routes = router("/erasures", "erasures", responses=problem_responses(401, 403, 422, 503))
Reader = Annotated[Principal, permitted("privacy:read")]


@routes.get("", response_model=Page[ErasureRead], openapi_extra=list_parameters(ERASURES))
async def list_erasures(request: Request, principal: Reader, services: ServicesDep) -> Response:
    """Receipts, the newest first; `subject` finds the one of a user whose id is known."""
    listing = parse_listing(ERASURES, request.query_params.multi_items())
    page = await services.privacy.erasures.rows.page(principal.scope(ERASURES), listing)
    return listed(ERASURES, page, request.url, listing.fields)


@routes.get("/{id}", response_model=ErasureRead, responses=problem_responses(404))
async def read_erasure(
    id: IdPath, principal: Reader, services: ServicesDep, if_none_match: IfNoneMatch = None
) -> Response:
    """One receipt: who asked, when, and what was removed."""
    row = await services.privacy.erasures.rows.get(principal.scope(ERASURES), id)
    return found(ERASURES, row, if_none_match=if_none_match)
