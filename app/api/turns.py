"""/api/conversations/{id}/turns and /api/turns: questions that a model answers."""

from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import Response

from app.api.deps import IdempotencyKeyHeader, IdPath, IfNoneMatch, LastEventId, OpenDrain, ServicesDep, permitted
from app.api.exporting import export_documentation, send_export
from app.api.turn_answers import STREAM, check_stream, number_of, send_turn, stream_of_turn
from app.auth.principal import Principal
from app.conversations.resource import CONVERSATIONS
from app.kit.idempotency import check_key
from app.kit.listing import parse_listing
from app.kit.parameters import list_parameters
from app.kit.problems import problem_responses
from app.kit.responses import JSON, listed, versioned
from app.kit.routing import RouteWithTools, router
from app.kit.schemas import Page
from app.turns.model import TERMINAL_STATES
from app.turns.resource import TURNS
from app.turns.schemas import Regenerate, Retry, TurnBrief, TurnCreate, TurnRead

routes = router("", "turns", route_class=RouteWithTools, responses=problem_responses(401, 403, 404, 422, 503))
Reader = Annotated[Principal, permitted("conversations:read")]
Writer = Annotated[Principal, permitted("turns:write")]
Exporter = Annotated[Principal, permitted("conversations:export")]
_BEGINS: dict[str, Any] = {
    "status_code": 201,
    "response_model": TurnRead,
    "responses": {
        **problem_responses(409, 502),
        200: {"description": "The stream, when it was asked for", "content": STREAM},
    },
}


@routes.post("/conversations/{id}/turns", **_BEGINS)
async def create_turn(
    id: IdPath,
    new: TurnCreate,
    request: Request,
    principal: Writer,
    services: ServicesDep,
    drain: OpenDrain,
    idempotency_key: IdempotencyKeyHeader = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Ask, and get the answer: as JSON when it is whole, or word by word with `"stream": true`.

    Both messages are stored, whatever becomes of the connection. The same request with the same `Idempotency-Key`
    finds the same turn again, running or over, on any server.
    """
    check_stream(request, services, principal, new)
    begun = await services.turns.ask(
        principal.scope(CONVERSATIONS, "write"), id, new, payer=principal.payer, key=check_key(idempotency_key)
    )
    return await send_turn(request, services, principal, drain, begun, new, last_event_id)


@routes.post("/conversations/{id}/regenerate", **_BEGINS)
async def regenerate(
    id: IdPath,
    new: Regenerate,
    request: Request,
    principal: Writer,
    services: ServicesDep,
    drain: OpenDrain,
    idempotency_key: IdempotencyKeyHeader = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Answer the last question again. The answer it had stays in the transcript as `superseded`."""
    check_stream(request, services, principal, new)
    begun = await services.turns.regenerate(
        principal.scope(CONVERSATIONS, "write"), id, new, payer=principal.payer, key=check_key(idempotency_key)
    )
    return await send_turn(request, services, principal, drain, begun, new, last_event_id)


@routes.get(
    "/turns",
    response_model=Page[TurnBrief],
    responses=problem_responses(429),
    openapi_extra=list_parameters(TURNS),
)
async def list_turns(request: Request, principal: Reader, services: ServicesDep) -> Response:
    """Turns of all conversations you may see, without their words: what they used, cost and took."""
    listing = parse_listing(TURNS, request.query_params.multi_items())
    page = await services.turns.rows.page(principal.scope(TURNS), listing)
    return listed(TURNS, page, request.url, listing.fields)


@routes.get("/turns/export", **export_documentation(TURNS))
async def export_turns(request: Request, principal: Exporter, services: ServicesDep) -> Response:
    """The list as a file."""
    return await send_export(request, services, principal, TURNS)


@routes.get("/turns/{id}", response_model=TurnRead)
async def read_turn(
    id: IdPath, principal: Reader, services: ServicesDep, if_none_match: IfNoneMatch = None
) -> Response:
    """A turn with both of its messages."""
    readable = principal.scope(CONVERSATIONS, "read")
    turn = await services.sharing.reach(
        services.turns.rows, id, principal.scope(TURNS), readable, lambda scope: services.turns.get(scope, id)
    )
    return versioned(turn, turn["version"], if_none_match)


@routes.get("/turns/{id}/events", responses={200: {"description": "The stream", "content": STREAM}})
async def follow_turn(
    id: IdPath,
    principal: Reader,
    services: ServicesDep,
    drain: OpenDrain,
    after: Annotated[int, Query(ge=0, lt=2**31, description="the number of the event you have seen last")] = 0,
    last_event_id: LastEventId = None,
) -> Response:
    """The turn's events behind the last one you have seen, as server-sent events: what is there, then what comes.

    The last event is always the turn's end, also of a turn that was over already.
    """
    return await stream_of_turn(services, principal, drain, id, after=number_of(last_event_id, after))


@routes.post(
    "/turns/{id}/cancel",
    response_model=TurnRead,
    responses={202: {"description": "The process that runs it has not answered yet", "model": TurnRead}},
)
async def cancel_turn(id: IdPath, principal: Writer, services: ServicesDep) -> Response:
    """End a turn with the text it has, on whichever server it runs. A turn that is over stays as it is."""
    writable = principal.scope(CONVERSATIONS, "write")
    turn = await services.sharing.reach(
        services.turns.rows, id, principal.scope(TURNS), writable, lambda scope: services.turns.cancel(scope, id)
    )
    return JSON(turn, status_code=200 if turn["state"] in TERMINAL_STATES else 202)


@routes.post("/turns/{id}/retry", **_BEGINS)
async def retry_turn(
    id: IdPath,
    request: Request,
    principal: Writer,
    services: ServicesDep,
    drain: OpenDrain,
    again: Retry | None = None,
    idempotency_key: IdempotencyKeyHeader = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Run a turn that failed, was cancelled or interrupted once more, as a new turn; its answer is superseded."""
    delivery = again or Retry()
    check_stream(request, services, principal, delivery)
    writable = principal.scope(CONVERSATIONS, "write")
    begun = await services.sharing.reach(
        services.turns.rows,
        id,
        principal.scope(TURNS),
        writable,
        lambda scope: services.turns.retry(
            scope,
            writable,
            id,
            when_busy=delivery.when_busy,
            payer=principal.payer,
            key=check_key(idempotency_key),
        ),
    )
    return await send_turn(request, services, principal, drain, begun, delivery, last_event_id)
