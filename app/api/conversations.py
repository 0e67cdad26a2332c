"""/api/conversations: conversations and their transcripts."""

from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from app.api.bulk import BulkRequest, BulkResponse, BulkWriter
from app.api.deps import IdPath, IfMatch, IfNoneMatch, MergePatch, OnceDep, ServicesDep, permitted
from app.api.exporting import export_documentation, send_export
from app.auth.principal import Principal
from app.conversations.resource import CONVERSATIONS, MESSAGES, TRANSCRIPT
from app.conversations.schemas import (
    ConversationCreate,
    ConversationRead,
    ConversationUpdate,
    ForkCreate,
    MessageCreate,
    MessageList,
    MessageRead,
    MessagesCreate,
)
from app.kit.editing import validated
from app.kit.errors import Invalid
from app.kit.listing import parse_boolean, parse_listing
from app.kit.parameters import list_parameters, query_parameter
from app.kit.problems import problem_responses
from app.kit.repository import EVERYTHING, Row
from app.kit.responses import JSON, created, found, listed, path_of
from app.kit.routing import merge_patch_body, router
from app.kit.schemas import Page
from app.services import Services

routes = router("/conversations", "conversations", responses=problem_responses(401, 403, 422, 503))
Reader = Annotated[Principal, permitted("conversations:read")]
Writer = Annotated[Principal, permitted("conversations:write")]
Exporter = Annotated[Principal, permitted("conversations:export")]
_SHARED = query_parameter("shared", "Those of others that are shared with you", {"type": "boolean", "default": False})
_ONE = problem_responses(404)
_CHANGED = problem_responses(404, 412)


@routes.post("", status_code=201, response_model=ConversationRead)
async def create_conversation(
    new: ConversationCreate, principal: Writer, once: OnceDep, services: ServicesDep
) -> Response:
    """Start a conversation."""

    async def create() -> Response:
        row = await _create(services, principal, new)
        return created(CONVERSATIONS, row, path_of("conversations", row["_id"]))

    return await once.run(create)


async def _create(services: Services, principal: Principal, new: ConversationCreate) -> Row:
    owner_id = principal.owner_of_new(new.owner_id)
    if owner_id != principal.user_id and await services.users.rows.find(EVERYTHING, {"_id": owner_id}) is None:
        raise Invalid.field("body.owner_id", "there is no such user")
    return await services.conversations.create(owner_id, new)


@routes.get(
    "",
    response_model=Page[ConversationRead],
    responses=problem_responses(429),
    openapi_extra={"parameters": [_SHARED, *list_parameters(CONVERSATIONS)["parameters"]]},
)
async def list_conversations(request: Request, principal: Reader, services: ServicesDep) -> Response:
    """Conversations of your own, or of everybody for admins and analysts; deleted ones only with `status=deleted`. With
    `shared=true` those of others that are shared with you."""
    is_shared = parse_boolean("shared", request.query_params.get("shared", "false"))
    listing = parse_listing(CONVERSATIONS, request.query_params.multi_items(), beside=("shared",))
    if is_shared:
        scope, condition = principal.scope_of_shared(CONVERSATIONS), CONVERSATIONS.live_filter
    else:
        scope, condition = principal.scope(CONVERSATIONS), {}
    page = await services.conversations.rows.page(scope, listing, condition)
    return listed(CONVERSATIONS, page, request.url, listing.fields)


@routes.get("/export", **export_documentation(CONVERSATIONS))
async def export_conversations(request: Request, principal: Exporter, services: ServicesDep) -> Response:
    """The list as a file."""
    return await send_export(request, services, principal, CONVERSATIONS)


@routes.post("/bulk", response_model=BulkResponse)
async def write_conversations(bulk: BulkRequest, principal: Writer, once: OnceDep, services: ServicesDep) -> Response:
    """Up to 1000 operations, each with its own result."""
    scope = principal.scope(CONVERSATIONS)
    writer = BulkWriter(
        lambda body: _create(services, principal, validated(ConversationCreate, body)),
        lambda id, body, versions: services.conversations.patch(scope, id, body, versions),
        lambda id, versions: services.conversations.delete(scope, id, versions),
    )
    return await writer.run(bulk, once)


@routes.get("/{id}", response_model=ConversationRead, responses=_ONE)
async def read_conversation(
    id: IdPath, principal: Reader, services: ServicesDep, if_none_match: IfNoneMatch = None
) -> Response:
    """One conversation, without its messages."""
    row = await services.conversations.rows.get(principal.scope(CONVERSATIONS, "read"), id)
    return found(CONVERSATIONS, row, if_none_match=if_none_match)


@routes.put("/{id}", response_model=ConversationRead, responses=_CHANGED)
async def replace_conversation(
    id: IdPath, update: ConversationUpdate, principal: Writer, services: ServicesDep, versions: IfMatch
) -> Response:
    """Replace what may be changed of a conversation."""
    row = await services.conversations.replace(principal.scope(CONVERSATIONS), id, update, versions)
    return found(CONVERSATIONS, row)


@routes.patch(
    "/{id}", response_model=ConversationRead, responses=_CHANGED, openapi_extra=merge_patch_body(ConversationUpdate)
)
async def patch_conversation(
    id: IdPath, patch: MergePatch, principal: Writer, services: ServicesDep, versions: IfMatch
) -> Response:
    """Change some of it (JSON Merge Patch); `{"status": "archived"}` archives."""
    row = await services.conversations.patch(principal.scope(CONVERSATIONS), id, patch, versions)
    return found(CONVERSATIONS, row)


@routes.delete("/{id}", status_code=204, responses=_CHANGED | problem_responses(409))
async def delete_conversation(
    id: IdPath,
    principal: Writer,
    services: ServicesDep,
    versions: IfMatch,
    permanent: Annotated[bool, Query(description="for good, also when it is deleted already")] = False,
) -> Response:
    """Hide a conversation and its messages; it can be restored unless `permanent`."""
    scope = principal.scope(CONVERSATIONS)
    remove = services.privacy.purging.purge if permanent else services.conversations.delete
    await remove(scope, id, versions)
    return Response(status_code=204)


@routes.post("/{id}/restore", response_model=ConversationRead, responses=problem_responses(404, 409))
async def restore_conversation(id: IdPath, principal: Writer, once: OnceDep, services: ServicesDep) -> Response:
    """Bring a deleted conversation back with its messages."""

    async def restore() -> Response:
        row = await services.conversations.restore(principal.scope(CONVERSATIONS), id)
        return found(CONVERSATIONS, row)

    async with services.conversations.alone(id):
        return await once.run(restore)


@routes.post("/{id}/fork", status_code=201, response_model=ConversationRead, responses=problem_responses(404, 409))
async def fork_conversation(
    id: IdPath, new: ForkCreate, principal: Writer, once: OnceDep, services: ServicesDep
) -> Response:
    """Begin a new conversation of your own with the messages of this one up to `seq`, as they are."""
    if (replay := await once.replay()) is not None:
        return replay
    forks = services.conversations.forks
    draft = await forks.prepare(principal.scope(CONVERSATIONS, "read"), id, new, principal.user_id)

    async def publish() -> Response:
        row = await forks.publish(draft)
        return created(CONVERSATIONS, row, path_of("conversations", row["_id"]))

    try:
        response = await once.run(publish)
    except BaseException:
        await forks.discard(draft)
        raise
    if response.headers["location"] != path_of("conversations", draft["_id"]):
        await forks.discard(draft)  # the same request was answered meanwhile
    return response


@routes.get(
    "/{id}/messages",
    response_model=Page[MessageRead],
    responses=problem_responses(404, 429),
    openapi_extra=list_parameters(TRANSCRIPT),
)
async def list_transcript(id: IdPath, request: Request, principal: Reader, services: ServicesDep) -> Response:
    """The messages in order; `sort=-seq` for the newest first."""
    listing = parse_listing(TRANSCRIPT, request.query_params.multi_items())
    page = await services.conversations.transcript(
        principal.scope(MESSAGES), principal.scope(CONVERSATIONS, "read"), id, listing
    )
    return listed(MESSAGES, page, request.url, listing.fields)


@routes.post("/{id}/messages", status_code=201, response_model=MessageRead, responses=_ONE)
async def append_message(
    id: IdPath, new: MessageCreate, principal: Writer, once: OnceDep, services: ServicesDep
) -> Response:
    """Append a message with the next number."""

    async def append() -> Response:
        scope = principal.scope(CONVERSATIONS, "write")
        appended = await services.conversations.append(scope, id, [new], place="body.content")
        row = appended.messages[0]
        return created(MESSAGES, row, path_of("messages", row["_id"]))

    async with services.conversations.alone(id):
        return await once.run(append)


@routes.post("/{id}/messages/bulk", status_code=201, response_model=MessageList, responses=_ONE)
async def append_messages(
    id: IdPath, new: MessagesCreate, principal: Writer, once: OnceDep, services: ServicesDep
) -> Response:
    """Append up to 1000 messages in their order: all of them or none."""

    async def append() -> Response:
        appended = await services.conversations.append(principal.scope(CONVERSATIONS, "write"), id, new.messages)
        items = [MESSAGES.render(row) for row in appended.messages]
        return JSON({"items": items}, status_code=201, headers={"Location": path_of("conversations", id, "messages")})

    async with services.conversations.alone(id):
        return await once.run(append)
