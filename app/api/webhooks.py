"""/api/webhooks: who is told of what happens, and how that went."""

from datetime import timedelta
from typing import Annotated

from fastapi import Path, Request
from starlette.responses import Response

from app.api import webhook_events
from app.api.deps import IdPath, IfMatch, IfNoneMatch, MergePatch, OnceDep, ServicesDep, permitted
from app.auth.principal import Principal
from app.kit.listing import parse_listing
from app.kit.parameters import list_parameters
from app.kit.problems import problem_responses
from app.kit.responses import JSON, created, found, listed, path_of
from app.kit.routing import merge_patch_body, router
from app.kit.schemas import ID, Page
from app.webhooks.resource import DELIVERIES, WEBHOOKS
from app.webhooks.schemas import DeliveryRead, Rotate, WebhookCreate, WebhookCreated, WebhookRead, WebhookUpdate

routes = router("/webhooks", "webhooks", responses=problem_responses(401, 403, 422, 503))
Reader = Annotated[Principal, permitted("webhooks:read")]
Writer = Annotated[Principal, permitted("webhooks:write")]
_CHANGED = problem_responses(404, 412)
_ACTIVE = problem_responses(404, 409)

DeliveryPath = Annotated[ID, Path(description="24 hexadecimal digits")]


@routes.post(
    "",
    status_code=201,
    response_model=WebhookCreated,
    responses=problem_responses(409),
    callbacks=webhook_events.callbacks.routes,
)
async def create_webhook(new: WebhookCreate, principal: Writer, once: OnceDep, services: ServicesDep) -> Response:
    """Let a URL be told of events from now on; the secret of its signatures is shown this once. A replay by
    Idempotency-Key shows it as null."""

    async def create() -> Response:
        row, secret = await services.webhooks.create(principal, new)
        return created(WEBHOOKS, row, path_of("webhooks", row["_id"]), secret=secret)

    response = await once.run(create, concealed=("secret",))
    services.webhooks.has_news()
    return response


@routes.get("", response_model=Page[WebhookRead], openapi_extra=list_parameters(WEBHOOKS))
async def list_webhooks(request: Request, principal: Reader, services: ServicesDep) -> Response:
    """Your webhooks; admins see everybody's."""
    listing = parse_listing(WEBHOOKS, request.query_params.multi_items())
    page = await services.webhooks.rows.page(principal.scope(WEBHOOKS), listing)
    return listed(WEBHOOKS, page, request.url, listing.fields)


@routes.get("/{id}", response_model=WebhookRead, responses=problem_responses(404))
async def read_webhook(
    id: IdPath, principal: Reader, services: ServicesDep, if_none_match: IfNoneMatch = None
) -> Response:
    """One webhook, without its secret."""
    row = await services.webhooks.rows.get(principal.scope(WEBHOOKS), id)
    return found(WEBHOOKS, row, if_none_match=if_none_match)


@routes.patch("/{id}", response_model=WebhookRead, responses=_CHANGED, openapi_extra=merge_patch_body(WebhookUpdate))
async def patch_webhook(
    id: IdPath, patch: MergePatch, principal: Writer, services: ServicesDep, versions: IfMatch
) -> Response:
    """Change some of it (JSON Merge Patch); `{"active": true}` switches it on again."""
    row = await services.webhooks.patch(principal, id, patch, versions)
    return found(WEBHOOKS, row)


@routes.delete("/{id}", status_code=204, responses=_CHANGED)
async def delete_webhook(id: IdPath, principal: Writer, services: ServicesDep, versions: IfMatch) -> Response:
    """Remove a webhook with its log; what is on its way is not stopped."""
    await services.webhooks.delete(principal.scope(WEBHOOKS), id, versions)
    return Response(status_code=204)


@routes.post("/{id}/rotate", response_model=WebhookCreated, responses=problem_responses(404, 409, 412))
async def rotate_secret(
    id: IdPath, rotate: Rotate, principal: Writer, once: OnceDep, services: ServicesDep
) -> Response:
    """Make a new secret, which is shown this once; until `overlap` is over deliveries bear both signatures."""

    async def change() -> Response:
        overlap = timedelta(seconds=rotate.overlap)
        row, secret = await services.webhooks.rotate(principal.scope(WEBHOOKS), id, overlap)
        return JSON({**WEBHOOKS.render(row), "secret": secret})

    return await once.run(change, concealed=("secret",))


@routes.post("/{id}/ping", status_code=201, response_model=DeliveryRead, responses=_ACTIVE)
async def ping_webhook(id: IdPath, principal: Writer, once: OnceDep, services: ServicesDep) -> Response:
    """Send `webhook.ping`; the log tells what became of it."""

    async def ping() -> Response:
        row = await services.webhooks.ping(principal.scope(WEBHOOKS), id)
        return created(DELIVERIES, row, path_of("webhooks", id, "deliveries", event_id=row["event_id"]))

    response = await once.run(ping)
    services.webhooks.has_news()
    return response


@routes.get(
    "/{id}/deliveries",
    response_model=Page[DeliveryRead],
    responses=problem_responses(404),
    openapi_extra=list_parameters(DELIVERIES),
)
async def list_deliveries(id: IdPath, request: Request, principal: Reader, services: ServicesDep) -> Response:
    """What was sent, what waits and what failed, the newest first; kept for some days."""
    await services.webhooks.rows.get(principal.scope(WEBHOOKS), id, fields=("id",))
    listing = parse_listing(DELIVERIES, request.query_params.multi_items())
    page = await services.webhooks.deliveries.page(principal.scope(DELIVERIES), listing, {"webhook_id": id})
    return listed(DELIVERIES, page, request.url, listing.fields)


@routes.post("/{id}/deliveries/{delivery}/redeliver", response_model=DeliveryRead, responses=_ACTIVE)
async def redeliver(
    id: IdPath, delivery: DeliveryPath, principal: Writer, once: OnceDep, services: ServicesDep
) -> Response:
    """Send it again, with the same id and body, whatever became of it."""

    async def begin() -> Response:
        row = await services.webhooks.redeliver(principal.scope(WEBHOOKS), id, delivery)
        return JSON(DELIVERIES.render(row))

    response = await once.run(begin)
    services.webhooks.has_news()
    return response
