"""/api/conversations/{id}/shares and /links: who else may read a conversation; /api/shared: reading it with a link."""

import re
from typing import Annotated, Any

from fastapi import Path, Request
from starlette.responses import Response

from app.api.deps import IdPath, OnceDep, ServicesDep, permitted
from app.auth.principal import Principal
from app.conversations.links import LINKS, SHARED_TRANSCRIPT
from app.conversations.resource import CONVERSATIONS
from app.conversations.sharing_schemas import (
    LinkCreate,
    LinkCreated,
    LinkList,
    SharedConversation,
    SharedMessage,
    ShareList,
    ShareRead,
    ShareWrite,
)
from app.kit.errors import NotFound
from app.kit.listing import parse_listing
from app.kit.parameters import list_parameters
from app.kit.problems import problem_responses
from app.kit.repository import EVERYTHING, Row
from app.kit.responses import JSON, created, links_to, path_of
from app.kit.routing import router
from app.kit.schemas import Page

LINK_PATH = re.compile("/api/shared/([^/]+)(/messages)?")
"""What needs no credential but the link; the secret in it is kept out of logs."""

routes = router("", "sharing", responses=problem_responses(401, 403, 404, 422, 503))
Reader = Annotated[Principal, permitted("conversations:read")]
Sharer = Annotated[Principal, permitted("conversations:share")]
public = router("/shared", "sharing", responses=problem_responses(404, 422, 429, 503))
_OPEN: dict[str, Any] = {"security": []}

Token = Annotated[str, Path(description="the secret of a link", max_length=100)]


@routes.put(
    "/conversations/{id}/shares/{user_id}",
    response_model=ShareRead,
    responses={
        201: {"description": "It was not shared with them before", "model": ShareRead},
        **problem_responses(409),
    },
)
async def share_conversation(
    id: IdPath, user_id: IdPath, share: ShareWrite, principal: Sharer, services: ServicesDep
) -> Response:
    """Share a conversation of yours with another user, to read it or to go on with it."""
    scope = principal.scope(CONVERSATIONS)
    await services.conversations.rows.get(scope, id, fields=("id",))
    user = await services.users.rows.find(EVERYTHING, {"_id": user_id}, fields=("name",))
    if user is None:
        raise NotFound("There is no such user.")
    is_new = await services.sharing.share(scope, id, user_id, share.access)
    body = {"user_id": user_id, "name": user["name"], "access": share.access}
    return JSON(body, status_code=201 if is_new else 200)


@routes.get("/conversations/{id}/shares", response_model=ShareList)
async def list_shares(id: IdPath, principal: Reader, services: ServicesDep) -> Response:
    """Whom a conversation of yours is shared with."""
    shares = await services.sharing.rows.shares(principal.scope(CONVERSATIONS), id)
    users = await services.users.rows.of_ids(EVERYTHING, shares, fields=("name",))
    items = [
        {"user_id": user_id, "name": users.get(user_id, {}).get("name"), "access": access}
        for user_id, access in shares.items()
    ]
    return JSON({"items": items})


@routes.delete("/conversations/{id}/shares/{user_id}", status_code=204)
async def revoke_share(id: IdPath, user_id: IdPath, principal: Sharer, services: ServicesDep) -> Response:
    """Share it with that user no more: at once, and what they follow of it ends within a second."""
    await services.sharing.revoke(principal.scope(CONVERSATIONS), id, user_id)
    return Response(status_code=204)


@routes.post("/conversations/{id}/links", status_code=201, response_model=LinkCreated, responses=problem_responses(409))
async def create_link(id: IdPath, new: LinkCreate, principal: Sharer, once: OnceDep, services: ServicesDep) -> Response:
    """Let whoever has the link read a conversation of yours; its secret is shown this once. A replay by
    Idempotency-Key shows it as null."""

    async def create() -> Response:
        row, token = await services.links.create(principal.scope(CONVERSATIONS), id, new)
        location = path_of("conversations", id, "links", row["_id"])
        return created(LINKS, row, location, token=token, path=path_of("shared", token))

    return await once.run(create, concealed=("token", "path"))


@routes.get("/conversations/{id}/links", response_model=LinkList)
async def list_links(id: IdPath, principal: Reader, services: ServicesDep) -> Response:
    """The links of a conversation of yours that count, without their secrets."""
    rows = await services.links.of(principal.scope(CONVERSATIONS), id)
    return JSON({"items": [LINKS.render(row) for row in rows]})


@routes.delete("/conversations/{id}/links/{link_id}", status_code=204)
async def revoke_link(id: IdPath, link_id: IdPath, principal: Sharer, services: ServicesDep) -> Response:
    """Let the link show nothing any more, from now on."""
    await services.links.revoke(principal.scope(CONVERSATIONS), id, link_id)
    return Response(status_code=204)


@public.get("/{token}", response_model=SharedConversation, openapi_extra=_OPEN)
async def read_shared(token: Token, services: ServicesDep) -> Response:
    """The conversation that a link shows. No credential is needed."""
    return JSON(_shown(await services.links.conversation(token), SharedConversation.model_fields))


@public.get(
    "/{token}/messages",
    response_model=Page[SharedMessage],
    openapi_extra={**_OPEN, **list_parameters(SHARED_TRANSCRIPT)},
)
async def list_shared_messages(token: Token, request: Request, services: ServicesDep) -> Response:
    """Its messages in order. No credential is needed."""
    listing = parse_listing(SHARED_TRANSCRIPT, request.query_params.multi_items())
    page = await services.links.transcript(token, listing)
    items = [_shown(row, listing.fields or SharedMessage.model_fields) for row in page.rows]
    body: dict[str, Any] = {"items": items, "next": page.next, "prev": page.prev}
    return JSON(body, headers=links_to(request.url, page.next, page.prev))


def _shown(row: Row, fields: Any) -> dict[str, Any]:
    return {name: row[name] for name in fields}
