"""/api/exports: exports as jobs, and their files."""

from typing import Annotated

from fastapi import Request
from starlette.responses import Response

from app.api.deps import IdPath, OnceDep, ServicesDep, permitted
from app.api.export_files import send_file
from app.api.jobs import FollowingDep, accepted
from app.audit.trail import record
from app.auth.principal import Principal
from app.exports.manifest import manifest
from app.exports.resource import EXPORTS
from app.exports.schemas import ExportCreate, ExportRead, ManifestRead
from app.kit.export import FORMATS
from app.kit.listing import parse_listing
from app.kit.parameters import list_parameters
from app.kit.problems import problem_responses
from app.kit.responses import JSON, found, listed
from app.kit.routing import RouteWithFilters, router
from app.kit.schemas import Page

routes = router("/exports", "exports", route_class=RouteWithFilters, responses=problem_responses(401, 403, 422, 503))
Reader = Annotated[Principal, permitted("exports:read")]
Writer = Annotated[Principal, permitted("exports:write")]

_FILE = {
    "description": "The file, or with 206 the part that `Range` asks for",
    "content": {each.media_type.partition(";")[0]: {"schema": {"type": "string"}} for each in FORMATS.values()},
}


@routes.post("", status_code=202, response_model=ExportRead, responses=problem_responses(409, 429))
async def create_export(new: ExportCreate, principal: Writer, once: OnceDep, services: ServicesDep) -> Response:
    """Begin an export of what you may see now; follow it at its `Location`."""

    async def create() -> Response:
        return accepted(EXPORTS, await services.exports.create(principal, new.spec, new.since))

    return await once.run(create)


@routes.get("", response_model=Page[ExportRead], openapi_extra=list_parameters(EXPORTS))
async def list_exports(request: Request, principal: Reader, services: ServicesDep) -> Response:
    """Your exports; admins see everybody's."""
    listing = parse_listing(EXPORTS, request.query_params.multi_items())
    page = await services.exports.rows.page(principal.scope(EXPORTS), listing)
    return listed(EXPORTS, page, request.url, listing.fields)


@routes.get("/{id}", response_model=ExportRead, responses=problem_responses(404))
async def read_export(principal: Reader, services: ServicesDep, following: FollowingDep) -> Response:
    """One export, and how far it is."""
    return await following.answer(services.exports.jobs, principal.scope(EXPORTS))


@routes.get("/{id}/file", response_class=Response, responses={**problem_responses(404, 409, 416), 200: _FILE})
async def read_export_file(request: Request, id: IdPath, principal: Reader, services: ServicesDep) -> Response:
    """The file of a completed export; `Range` and `If-Range` go on with a download that was cut off."""
    row = await services.exports.completed(principal.scope(EXPORTS), id)
    response = send_file(services.exports.jobs.files, row, request.headers)
    await record("export.downloaded", EXPORTS.name, id, subject_id=row["owner_id"], details={"format": row["format"]})
    return response


@routes.get("/{id}/manifest", response_model=ManifestRead, responses=problem_responses(404, 409))
async def read_export_manifest(id: IdPath, principal: Reader, services: ServicesDep) -> Response:
    """What is in the file of a completed export and what is not, with its size and SHA-256."""
    return JSON(manifest(await services.exports.completed(principal.scope(EXPORTS), id)))


@routes.post("/{id}/cancel", response_model=ExportRead, responses=problem_responses(404, 409))
async def cancel_export(id: IdPath, principal: Writer, services: ServicesDep) -> Response:
    """End an export that waits or runs, on whichever server; nothing of its file stays."""
    row = await services.exports.jobs.endings.cancel(principal.scope(EXPORTS), id)
    return found(EXPORTS, row)


@routes.delete("/{id}", status_code=204, responses=problem_responses(404))
async def delete_export(id: IdPath, principal: Writer, services: ServicesDep) -> Response:
    """Remove an export and its file; one that runs ends."""
    await services.exports.jobs.delete(principal.scope(EXPORTS), id)
    return Response(status_code=204)
