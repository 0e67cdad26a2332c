"""/api/imports: conversations from files, as jobs; the records that could not be read; taking an import back."""

import hashlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

from bson import ObjectId
from fastapi import Depends, Query, Request
from starlette.responses import Response

from app.api.deps import IdempotencyKeyHeader, IdPath, OnceDep, ServicesDep, permitted
from app.api.jobs import FollowingDep, StoredFileResponse, accepted
from app.auth.principal import Principal
from app.imports.formats import Format
from app.imports.mapping import parse_map
from app.imports.resource import IMPORTS
from app.imports.schemas import ImportRead
from app.imports.service import ImportOptions
from app.kit.errors import Invalid
from app.kit.idempotency import REPLAYED, Once, check_key, fingerprint
from app.kit.listing import parse_listing
from app.kit.parameters import list_parameters
from app.kit.problems import problem_responses
from app.kit.repository import EVERYTHING
from app.kit.responses import found, listed
from app.kit.routing import router
from app.kit.schemas import ID, Page
from app.services import Services

PATH = "/imports"
routes = router(PATH, "imports", responses=problem_responses(401, 403, 422, 503))
Reader = Annotated[Principal, permitted("imports:read")]
Writer = Annotated[Principal, permitted("imports:write")]
PIECE_BYTES = 1 << 20

_FILE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file: JSON Lines, CSV, XLSX, or an export of ChatGPT, Claude, LibreChat, Open WebUI or "
        "LangChain; plain, gzip or zip. Its content tells which, whatever the Content-Type.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_ERRORS = {
    "description": "JSON Lines: position, reason, row",
    "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
}


async def _options(
    principal: Writer,
    dry_run: Annotated[bool, Query(description="Store nothing; say what would be stored")] = False,
    columns: Annotated[
        list[str] | None,
        Query(
            alias="map", description="Which column of a table holds what: content=Text; once for each", max_length=50
        ),
    ] = None,
    format: Annotated[Format | None, Query(description="Refuse the file if its content is of another format")] = None,
    filename: Annotated[str, Query(max_length=255, description="What the import calls the file")] = "upload",
    namespace: Annotated[
        str | None, Query(min_length=1, max_length=100, description="Keeps its ids apart from those of other places")
    ] = None,
    restore: Annotated[
        bool, Query(description="Our own exports keep their ids and times; for admins, into an empty database")
    ] = False,
) -> ImportOptions:
    if restore:
        principal.require("admin")
    mapped = parse_map(columns or [])
    return ImportOptions(
        name=filename, columns=mapped, namespace=namespace, restore=restore, dry_run=dry_run, expected=format
    )


async def _owner(
    principal: Writer,
    services: ServicesDep,
    owner_id: Annotated[ID | None, Query(description="Yourself when left out; admins may name another user")] = None,
) -> ObjectId:
    owner = principal.owner_of_new(owner_id)
    if owner != principal.user_id and await services.users.rows.find(EVERYTHING, {"_id": owner}) is None:
        raise Invalid.field("query.owner_id", "there is no such user")
    return owner


@routes.post("", status_code=202, response_model=ImportRead, responses=problem_responses(413, 429), openapi_extra=_FILE)
async def create_import(
    request: Request,
    principal: Writer,
    services: ServicesDep,
    owner: Annotated[ObjectId, Depends(_owner)],
    options: Annotated[ImportOptions, Depends(_options)],
    idempotency_key: IdempotencyKeyHeader = None,
) -> Response:
    """Import a file; follow the import at its `Location`. What is there already is left alone."""
    digest = hashlib.sha256()
    id, size = await services.imports.receive(_pieces(request, digest))
    if not size:
        raise Invalid("The body is the file to import, and it is empty.")

    async def create() -> Response:
        return accepted(IMPORTS, await services.imports.create(id, owner, size, options))

    try:
        response = await _once(request, services, principal, idempotency_key, digest.digest()).run(create)
    except BaseException:
        await services.imports.forget(id)
        raise
    if any(name in response.headers for name in REPLAYED):
        await services.imports.forget(id)
    return response


async def _pieces(request: Request, digest: Any) -> AsyncIterator[bytes]:
    """The body in pieces of one size, which are worth a write each."""
    piece = bytearray()
    async for chunk in request.stream():
        digest.update(chunk)
        piece += chunk
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def _once(request: Request, services: Services, principal: Principal, key: str | None, body: bytes) -> Once:
    """The promise of a request whose body is too large to be held."""
    route = f"{request.method} {request.url.path}"
    return Once(
        transactions=services.database.transactions,
        owner=str(principal.user_id),
        route=route,
        key=check_key(key),
        fingerprint=fingerprint(route.encode(), request.url.query.encode(), body),
    )


@routes.get("", response_model=Page[ImportRead], openapi_extra=list_parameters(IMPORTS))
async def list_imports(request: Request, principal: Reader, services: ServicesDep) -> Response:
    """Imports, dry runs and undos that you may see."""
    listing = parse_listing(IMPORTS, request.query_params.multi_items())
    page = await services.imports.rows.page(principal.scope(IMPORTS), listing)
    return listed(IMPORTS, page, request.url, listing.fields)


@routes.get("/{id}", response_model=ImportRead, responses=problem_responses(404))
async def read_import(principal: Reader, services: ServicesDep, following: FollowingDep) -> Response:
    """One import, and how far it is."""
    return await following.answer(services.imports.jobs, principal.scope(IMPORTS))


@routes.get("/{id}/errors", response_class=Response, responses={**problem_responses(404, 409), 200: _ERRORS})
async def read_import_errors(id: IdPath, principal: Reader, services: ServicesDep) -> Response:
    """The records that could not be read, as they came."""
    row, chunks = await services.imports.errors(principal.scope(IMPORTS), id)
    headers = {"Content-Disposition": f'attachment; filename="import-{row["_id"]}-errors.jsonl"'}
    return StoredFileResponse(chunks, row["errors_bytes"], "application/x-ndjson", headers)


@routes.post("/{id}/undo", status_code=202, response_model=ImportRead, responses=problem_responses(404, 409))
async def undo_import(
    id: IdPath,
    principal: Writer,
    services: ServicesDep,
    once: OnceDep,
    force: Annotated[bool, Query(description="Remove conversations that were changed since as well")] = False,
) -> Response:
    """Remove the conversations that an import has added and nobody has changed since: a job, at its `Location`."""

    async def create() -> Response:
        return accepted(IMPORTS, await services.imports.create_undo(principal.scope(IMPORTS), id, force=force))

    return await once.run(create)


@routes.post("/{id}/cancel", response_model=ImportRead, responses=problem_responses(404, 409))
async def cancel_import(id: IdPath, principal: Writer, services: ServicesDep) -> Response:
    """End an import that waits or runs, wherever that is; what it has added stays, and can be undone."""
    row = await services.imports.jobs.endings.cancel(principal.scope(IMPORTS), id)
    return found(IMPORTS, row)


@routes.delete("/{id}", status_code=204, responses=problem_responses(404))
async def delete_import(id: IdPath, principal: Writer, services: ServicesDep) -> Response:
    """Forget an import and its file of errors; what it has added stays, and cannot be undone any more."""
    await services.imports.jobs.delete(principal.scope(IMPORTS), id)
    return Response(status_code=204)
