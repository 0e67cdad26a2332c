"""/api/conversations/{id}/turns and /api/turns: questions that a model answers."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, get_args

from fastapi import Request
from starlette.responses import Response

from app.api.deps import DrainDep, IdempotencyKeyHeader, IdPath, IfNoneMatch, Reader, ServicesDep, Writer
from app.conversations.resource import CONVERSATIONS
from app.kit.errors import Unavailable, UpstreamFailed, VerbatimError
from app.kit.etag import etag
from app.kit.idempotency import REPLAYED, check_key
from app.kit.problems import problem_responses
from app.kit.responses import JSON, path_of, versioned
from app.kit.routing import router
from app.kit.streaming import ServerSentEvent, event_stream
from app.turns.log import EventName
from app.turns.resource import TURNS
from app.turns.schemas import TurnCreate, TurnRead
from app.turns.service import Begun

routes = router("", "turns", responses=problem_responses(401, 403, 404, 422, 503))

_STREAM = {
    "text/event-stream": {
        "schema": {
            "type": "object",
            "description": 'One event; `data` is JSON: a turn, or for `delta` {"text": "..."}',
            "properties": {
                "id": {"type": "string", "description": "the event's number from 1"},
                "event": {"type": "string", "enum": [*get_args(EventName), "reconnect"]},
                "data": {"type": "string"},
            },
            "required": ["event", "data"],
        },
        "example": 'id: 1\nevent: turn.started\ndata: {"id": "..."}\n\nid: 2\nevent: delta\ndata: {"text": "Hi"}\n\n',
    }
}


@routes.post(
    "/conversations/{id}/turns",
    status_code=201,
    response_model=TurnRead,
    responses={
        **problem_responses(409, 502),
        200: {"description": "The stream, when it was asked for", "content": _STREAM},
    },
)
async def create_turn(
    id: IdPath,
    new: TurnCreate,
    request: Request,
    principal: Writer,
    services: ServicesDep,
    drain: DrainDep,
    idempotency_key: IdempotencyKeyHeader = None,
) -> Response:
    """Ask, and get the answer: as JSON when it is whole, or word by word with `"stream": true`.

    Both messages are stored, whatever becomes of the connection.
    """
    if drain.has_started:
        raise Unavailable("The server is shutting down; ask another one.")
    begun = await services.turns.begin(
        principal.scope(CONVERSATIONS), id, new, requester=principal.user_id, key=check_key(idempotency_key)
    )
    headers = {"Location": path_of("turns", begun.turn["id"]), **(REPLAYED if begun.is_replay else {})}
    if new.stream or "text/event-stream" in request.headers.get("accept", ""):
        return event_stream(_events(begun), drain, headers)
    return _answer(await begun.outcome(), headers)


async def _events(begun: Begun) -> AsyncGenerator[ServerSentEvent, None]:
    async with aclosing(begun.events()) as events:
        async for event in events:
            yield ServerSentEvent(event.number, event.name, event.data)


def _answer(turn: dict[str, Any], headers: dict[str, str]) -> Response:
    """201 with the finished turn; an error that carries the turn when there is no whole answer."""
    if turn["error"] is not None:
        code, message = turn["error"]["code"], turn["error"]["message"]
        error = _FAULTS.get(code, UpstreamFailed)(message, turn=turn, reason=code)
        error.headers.update(headers)
        raise error
    return JSON(turn, status_code=201, headers={**headers, "ETag": etag(turn["version"])})


_FAULTS: Mapping[str, type[VerbatimError]] = {
    "internal_error": VerbatimError,
    "database_unavailable": Unavailable,
    "server_stopped": Unavailable,
    "server_died": Unavailable,
}


@routes.get("/turns/{id}", response_model=TurnRead)
async def read_turn(
    id: IdPath, principal: Reader, services: ServicesDep, if_none_match: IfNoneMatch = None
) -> Response:
    """A turn with both of its messages."""
    turn = await services.turns.get(principal.scope(TURNS), id)
    return versioned(turn, turn["version"], if_none_match)
