"""/api/audit: who did what, when and from where."""

from typing import Annotated

from fastapi import Request
from starlette.responses import Response

from app.api.deps import IdPath, IfNoneMatch, ServicesDep, permitted
from app.api.exporting import export_documentation, send_export
from app.audit.resource import AUDIT
from app.audit.schemas import AuditRead
from app.auth.principal import Principal
from app.kit.listing import parse_listing
from app.kit.parameters import list_parameters
from app.kit.problems import problem_responses
from app.kit.responses import found, listed
from app.kit.routing import router
from app.kit.schemas import Page

routes = router("/audit", "audit", responses=problem_responses(401, 403, 422, 503))
Reader = Annotated[Principal, permitted("audit:read")]


@routes.get("", response_model=Page[AuditRead], openapi_extra=list_parameters(AUDIT))
async def list_audit(request: Request, principal: Reader, services: ServicesDep) -> Response:
    """Entries, the newest first (admins). There is no way to change or delete one."""
    listing = parse_listing(AUDIT, request.query_params.multi_items())
    page = await services.audit.page(principal.scope(AUDIT), listing)
    return listed(AUDIT, page, request.url, listing.fields)


@routes.get("/export", **export_documentation(AUDIT))
async def export_audit(request: Request, principal: Reader, services: ServicesDep) -> Response:
    """The list as a file (admins)."""
    return await send_export(request, services, principal, AUDIT)


@routes.get("/{id}", response_model=AuditRead, responses=problem_responses(404))
async def read_audit_entry(
    id: IdPath, principal: Reader, services: ServicesDep, if_none_match: IfNoneMatch = None
) -> Response:
    """One entry (admins)."""
    row = await services.audit.get(principal.scope(AUDIT), id)
    return found(AUDIT, row, if_none_match=if_none_match)
