"""/api/hooks: other systems that append messages, each with a signature instead of a key."""

from typing import Annotated

from fastapi import Request
from starlette.responses import Response

from app.api.deps import IdPath, IfMatch, OnceDep, ServicesDep, permitted
from app.auth.principal import Principal
from app.conversations.resource import CONVERSATIONS, MESSAGES
from app.conversations.schemas import MessageRead
from app.kit.editing import validated
from app.kit.errors import Invalid
from app.kit.idempotency import Once, fingerprint
from app.kit.listing import parse_listing
from app.kit.parameters import list_parameters
from app.kit.problems import problem_responses
from app.kit.responses import created, listed, path_of
from app.kit.routing import router
from app.kit.schemas import Page
from app.kit.strict_json import InvalidJSON
from app.webhooks.resource import HOOKS
from app.webhooks.schemas import HookCreate, HookCreated, HookMessage, HookRead

routes = router("/hooks", "hooks", responses=problem_responses(401, 422, 503))
Reader = Annotated[Principal, permitted("webhooks:read")]
Writer = Annotated[Principal, permitted("webhooks:write")]
Inviter = Annotated[Principal, permitted("webhooks:write", "conversations:write")]
_DENIED = problem_responses(403)

_SIGNED = [
    {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
    for name, text in (
        ("webhook-id", "1 to 200 printable ASCII characters; the same id appends once (24 hours)"),
        ("webhook-timestamp", "seconds since 1970, within five minutes of now"),
        ("webhook-signature", "`v1,<base64 of HMAC-SHA256 over id.timestamp.body>`"),
    )
]


@routes.post("", status_code=201, response_model=HookCreated, responses=_DENIED | problem_responses(404, 409))
async def create_hook(new: HookCreate, principal: Inviter, once: OnceDep, services: ServicesDep) -> Response:
    """Let another system append messages to a conversation of yours; the secret is shown this once. A replay by
    Idempotency-Key shows it as null."""

    async def create() -> Response:
        row, secret = await services.webhooks.inbound.create(principal.scope(CONVERSATIONS), new)
        return created(HOOKS, row, path_of("hooks", row["_id"]), secret=secret)

    return await once.run(create, concealed=("secret",))


@routes.get("", response_model=Page[HookRead], responses=_DENIED, openapi_extra=list_parameters(HOOKS))
async def list_hooks(request: Request, principal: Reader, services: ServicesDep) -> Response:
    """Your hooks; admins see everybody's."""
    listing = parse_listing(HOOKS, request.query_params.multi_items())
    page = await services.webhooks.inbound.rows.page(principal.scope(HOOKS), listing)
    return listed(HOOKS, page, request.url, listing.fields)


@routes.delete("/{id}", status_code=204, responses=_DENIED | problem_responses(404, 412))
async def delete_hook(id: IdPath, principal: Writer, services: ServicesDep, versions: IfMatch) -> Response:
    """Refuse that system from now on."""
    await services.webhooks.inbound.delete(principal.scope(HOOKS), id, versions)
    return Response(status_code=204)


@routes.post(
    "/{id}",
    status_code=201,
    response_model=MessageRead,
    responses=problem_responses(404),
    openapi_extra={
        "security": [],
        "parameters": _SIGNED,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": HookMessage.model_json_schema()}},
        },
    },
)
async def receive_message(id: IdPath, request: Request, services: ServicesDep) -> Response:
    """Append a message, as another system. It is signed as Standard Webhooks are; no key is needed."""
    body = await request.body()
    hook, message_id = await services.webhooks.inbound.admit(id, request.headers, body)
    route = f"POST {path_of('hooks', id)}"
    once = Once(services.database.transactions, f"hook:{id}", route, message_id, fingerprint(body))
    new = await _message(request)

    async def append() -> Response:
        row = await services.webhooks.inbound.append(hook, new)
        return created(MESSAGES, row, path_of("messages", row["_id"]))

    async with services.conversations.alone(hook["conversation_id"]):
        return await once.run(append)


async def _message(request: Request) -> HookMessage:
    """What was signed, read strictly; raises Invalid, RequestValidationError."""
    try:
        return validated(HookMessage, await request.json())
    except InvalidJSON as error:
        raise Invalid.field("body", error.msg) from error
