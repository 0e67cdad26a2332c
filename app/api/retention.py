"""/api/retention: policies that remove conversations by age (admins)."""

from typing import Annotated

from fastapi import Request
from starlette.responses import Response

from app.api.deps import IdPath, IfMatch, IfNoneMatch, MergePatch, OnceDep, ServicesDep, permitted
from app.auth.principal import Principal
from app.kit.listing import parse_listing
from app.kit.parameters import list_parameters
from app.kit.problems import problem_responses
from app.kit.repository import EVERYTHING
from app.kit.responses import JSON, created, found, listed, path_of
from app.kit.routing import merge_patch_body, router
from app.kit.schemas import Page
from app.privacy.resource import POLICIES
from app.privacy.schemas import DryRun, PolicyInput, PolicyRead

routes = router("/retention", "retention", responses=problem_responses(401, 403, 422, 503))
Reader = Annotated[Principal, permitted("privacy:read")]
Writer = Annotated[Principal, permitted("privacy:write")]
_CHANGED = problem_responses(404, 412)


@routes.post("", status_code=201, response_model=PolicyRead, responses=problem_responses(409))
async def create_policy(new: PolicyInput, _: Writer, once: OnceDep, services: ServicesDep) -> Response:
    """A new policy. It removes nothing before `enabled` is true: try a dry run first."""

    async def create() -> Response:
        row = await services.privacy.retention.create(new)
        return created(POLICIES, row, path_of("retention", row["_id"]))

    return await once.run(create)


@routes.get("", response_model=Page[PolicyRead], openapi_extra=list_parameters(POLICIES))
async def list_policies(request: Request, _: Reader, services: ServicesDep) -> Response:
    """All policies, and what their last runs did."""
    listing = parse_listing(POLICIES, request.query_params.multi_items())
    page = await services.privacy.retention.rows.page(EVERYTHING, listing)
    return listed(POLICIES, page, request.url, listing.fields)


@routes.get("/{id}", response_model=PolicyRead, responses=problem_responses(404))
async def read_policy(id: IdPath, _: Reader, services: ServicesDep, if_none_match: IfNoneMatch = None) -> Response:
    """One policy."""
    row = await services.privacy.retention.rows.get(EVERYTHING, id)
    return found(POLICIES, row, if_none_match=if_none_match)


@routes.patch("/{id}", response_model=PolicyRead, responses=_CHANGED, openapi_extra=merge_patch_body(PolicyInput))
async def patch_policy(id: IdPath, patch: MergePatch, _: Writer, services: ServicesDep, versions: IfMatch) -> Response:
    """Change some of it (JSON Merge Patch); it runs anew, as it is then."""
    row = await services.privacy.retention.patch(EVERYTHING, id, patch, versions)
    return found(POLICIES, row)


@routes.delete("/{id}", status_code=204, responses=_CHANGED)
async def delete_policy(id: IdPath, _: Writer, services: ServicesDep, versions: IfMatch) -> Response:
    """Remove a policy; a run of it ends."""
    await services.privacy.retention.rows.delete(EVERYTHING, id, versions=versions)
    return Response(status_code=204)


@routes.post("/{id}/dry-run", response_model=DryRun, responses=problem_responses(404))
async def try_policy(id: IdPath, _: Reader, services: ServicesDep) -> Response:
    """What it would remove now, counted and not removed."""
    return JSON(await services.privacy.retention.dry_run(EVERYTHING, id))
