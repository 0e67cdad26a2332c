"""/api/messages: messages across conversations."""

from typing import Annotated

from fastapi import Request
from starlette.responses import Response

from app.api.deps import IdPath, IfMatch, IfNoneMatch, MergePatch, ServicesDep, permitted
from app.api.exporting import export_documentation, send_export
from app.auth.principal import Principal
from app.conversations.resource import CONVERSATIONS, MESSAGES
from app.conversations.schemas import MessageRead, MessageUpdate
from app.kit.listing import parse_listing
from app.kit.parameters import list_parameters
from app.kit.problems import problem_responses
from app.kit.responses import found, listed
from app.kit.routing import merge_patch_body, router
from app.kit.schemas import Page

routes = router("/messages", "messages", responses=problem_responses(401, 403, 422, 503))
Reader = Annotated[Principal, permitted("conversations:read")]
Writer = Annotated[Principal, permitted("conversations:write")]
Exporter = Annotated[Principal, permitted("conversations:export")]


@routes.get(
    "", response_model=Page[MessageRead], responses=problem_responses(429), openapi_extra=list_parameters(MESSAGES)
)
async def list_messages(request: Request, principal: Reader, services: ServicesDep) -> Response:
    """Messages of all conversations you may see: search them with `q`."""
    listing = parse_listing(MESSAGES, request.query_params.multi_items())
    page = await services.conversations.messages.page(principal.scope(MESSAGES), listing)
    return listed(MESSAGES, page, request.url, listing.fields)


@routes.get("/export", **export_documentation(MESSAGES))
async def export_messages(request: Request, principal: Exporter, services: ServicesDep) -> Response:
    """The list as a file."""
    return await send_export(request, services, principal, MESSAGES)


@routes.get("/{id}", response_model=MessageRead, responses=problem_responses(404))
async def read_message(
    id: IdPath, principal: Reader, services: ServicesDep, if_none_match: IfNoneMatch = None
) -> Response:
    """One message."""
    rows = services.conversations.messages
    readable = principal.scope(CONVERSATIONS, "read")
    row = await services.sharing.reach(rows, id, principal.scope(MESSAGES), readable, lambda scope: rows.get(scope, id))
    return found(MESSAGES, row, if_none_match=if_none_match)


@routes.patch(
    "/{id}",
    response_model=MessageRead,
    responses=problem_responses(404, 412),
    openapi_extra=merge_patch_body(MessageUpdate),
)
async def patch_message(
    id: IdPath, patch: MergePatch, principal: Writer, services: ServicesDep, versions: IfMatch
) -> Response:
    """Give feedback or metadata (JSON Merge Patch); `{"feedback": null}` takes it back."""
    row = await services.sharing.reach(
        services.conversations.messages,
        id,
        principal.scope(MESSAGES),
        principal.scope(CONVERSATIONS),
        lambda scope: services.conversations.patch_message(scope, id, patch, versions),
    )
    return found(MESSAGES, row)
