"""/api/export-schedules: exports that start by themselves."""

from typing import Annotated

from fastapi import Request
from starlette.responses import Response

from app.api.deps import IdPath, IfMatch, IfNoneMatch, MergePatch, OnceDep, ServicesDep, permitted
from app.auth.principal import Principal
from app.exports.resource import SCHEDULES
from app.exports.schemas import ScheduleInput, ScheduleRead
from app.kit.listing import parse_listing
from app.kit.parameters import list_parameters
from app.kit.problems import problem_responses
from app.kit.responses import created, found, listed, path_of
from app.kit.routing import RouteWithFilters, merge_patch_body, router
from app.kit.schemas import Page

routes = router(
    "/export-schedules", "exports", route_class=RouteWithFilters, responses=problem_responses(401, 403, 422, 503)
)
Reader = Annotated[Principal, permitted("exports:read")]
Writer = Annotated[Principal, permitted("exports:write")]


@routes.post("", status_code=201, response_model=ScheduleRead, responses=problem_responses(409))
async def create_schedule(new: ScheduleInput, principal: Writer, once: OnceDep, services: ServicesDep) -> Response:
    """Export every day or week at a time of yours; the exports are in /api/exports?schedule_id=."""

    async def create() -> Response:
        row = await services.schedules.create(principal, new)
        return created(SCHEDULES, row, path_of("export-schedules", row["_id"]))

    return await once.run(create)


@routes.get("", response_model=Page[ScheduleRead], openapi_extra=list_parameters(SCHEDULES))
async def list_schedules(request: Request, principal: Reader, services: ServicesDep) -> Response:
    """Your schedules; admins see everybody's."""
    listing = parse_listing(SCHEDULES, request.query_params.multi_items())
    page = await services.schedules.rows.page(principal.scope(SCHEDULES), listing)
    return listed(SCHEDULES, page, request.url, listing.fields)


@routes.get("/{id}", response_model=ScheduleRead, responses=problem_responses(404))
async def read_schedule(
    id: IdPath, principal: Reader, services: ServicesDep, if_none_match: IfNoneMatch = None
) -> Response:
    """One schedule, and when it is due next."""
    row = await services.schedules.rows.get(principal.scope(SCHEDULES), id)
    return found(SCHEDULES, row, if_none_match=if_none_match)


@routes.patch(
    "/{id}",
    response_model=ScheduleRead,
    responses=problem_responses(404, 412),
    openapi_extra=merge_patch_body(ScheduleInput),
)
async def update_schedule(
    id: IdPath, patch: MergePatch, principal: Writer, services: ServicesDep, versions: IfMatch
) -> Response:
    """Change a schedule; `"enabled": false` lets it rest."""
    row = await services.schedules.patch(principal, id, patch, versions)
    return found(SCHEDULES, row)


@routes.delete("/{id}", status_code=204, responses=problem_responses(404, 412))
async def delete_schedule(id: IdPath, principal: Writer, services: ServicesDep, versions: IfMatch) -> Response:
    """Remove a schedule. Its files stay as long as those of other exports."""
    await services.schedules.delete(principal.scope(SCHEDULES), id, versions)
    return Response(status_code=204)
