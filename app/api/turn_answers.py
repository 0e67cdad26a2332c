"""Sending a turn: as JSON when it is over, or as server-sent events while it goes on."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, get_args

from bson import ObjectId
from fastapi import Request
from starlette.responses import Response

from app.api.deps import LastEventId
from app.auth.principal import Principal
from app.conversations.resource import CONVERSATIONS
from app.kit.errors import Invalid, QuotaExceeded, Unavailable, UpstreamFailed, VerbatimError
from app.kit.etag import etag
from app.kit.idempotency import REPLAYED
from app.kit.repository import EVERYTHING, Scope
from app.kit.responses import JSON, path_of
from app.kit.streaming import Drain, ServerSentEvent, event_stream
from app.services import Services
from app.turns.beginning import Begun
from app.turns.events import EventName
from app.turns.resource import TURNS
from app.turns.schemas import Delivery
from app.turns.streams import TurnEvents

STREAM = {
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

_FAULTS: Mapping[str, type[VerbatimError]] = {
    "internal_error": VerbatimError,
    "database_unavailable": Unavailable,
    "server_stopped": Unavailable,
    "server_died": Unavailable,
    "upstream_unavailable": Unavailable,
    "quota_exceeded": QuotaExceeded,
}


def number_of(last_event_id: LastEventId, after: int = 0) -> int:
    """The number of the event that the client has seen last. Raises Invalid."""
    if last_event_id is None:
        return after
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= 9):
        raise Invalid.field("header.Last-Event-ID", "is the number of an event")
    return int(last_event_id)


class Reading:
    """Somebody's stream of what happens in one conversation: whether it is shared with them no more."""

    def __init__(self, services: Services, user_id: ObjectId) -> None:
        self.conversation_id: ObjectId | None = None
        self._revoked: set[ObjectId] = set()
        self._wake: Callable[[], None] = lambda: None
        self._stack = ExitStack()
        self._stack.enter_context(services.limits.streams.taking(user_id))
        self._stack.enter_context(services.sharing.revocations.telling(user_id, self._on_revoked))

    def when_revoked(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def is_revoked(self) -> bool:
        return self.conversation_id in self._revoked

    def close(self) -> None:
        self._stack.close()

    def _on_revoked(self, conversation_id: ObjectId) -> None:
        self._revoked.add(conversation_id)
        self._wake()


async def stream_of_turn(
    services: Services,
    principal: Principal,
    drain: Drain,
    turn_id: ObjectId,
    *,
    after: int,
    headers: dict[str, str] | None = None,
    cancels: bool = False,
) -> Response:
    """The turn's events behind a number, to whoever may read it. Raises NotFound."""
    turns, readable = services.turns, principal.scope(CONVERSATIONS, "read")
    reader = Reading(services, principal.user_id)  # before it is looked at what they may read

    async def follow(scope: Scope) -> TurnEvents:
        row = await turns.rows.get(scope, turn_id, fields=("conversation_id",))
        reader.conversation_id = row["conversation_id"]
        return await turns.streams.open(turn_id, after=after)

    try:
        events = await services.sharing.reach(turns.rows, turn_id, principal.scope(TURNS), readable, follow)
    except BaseException:
        reader.close()
        raise
    return event_stream(TurnSource(services, reader, events, turn_id if cancels else None), drain, headers)


def check_stream(request: Request, services: Services, principal: Principal, delivery: Delivery) -> None:
    """Before a turn begins that is to be streamed. Raises TooManyStreams."""
    if _is_streamed(request, delivery):
        services.limits.streams.check(principal.user_id)


def _is_streamed(request: Request, delivery: Delivery) -> bool:
    return delivery.stream or "text/event-stream" in request.headers.get("accept", "")


async def send_turn(
    request: Request,
    services: Services,
    principal: Principal,
    drain: Drain,
    begun: Begun,
    delivery: Delivery,
    last_event_id: LastEventId,
) -> Response:
    """The answer to a request that began a turn, or found it begun."""
    headers = {"Location": path_of("turns", begun.turn["id"]), **(REPLAYED if begun.is_replay else {})}
    cancels = delivery.on_disconnect == "cancel"
    if _is_streamed(request, delivery):
        after = number_of(last_event_id)
        return await stream_of_turn(
            services, principal, drain, begun.turn["id"], after=after, headers=headers, cancels=cancels
        )
    if cancels:
        return _answer(await _outcome_while_connected(request, services, begun), headers)
    return _answer(await services.turns.outcome(begun.turn), headers)


class TurnSource:
    """A turn's events for one connection, which end when its conversation is shared with the reader no more.

    `cancels`: the turn to cancel when the connection breaks before its end.
    """

    def __init__(self, services: Services, reader: Reading, events: TurnEvents, cancels: Any = None) -> None:
        self.wake = events.wake
        self._services = services
        self._reader = reader
        self._events = events
        self._cancels = cancels
        reader.when_revoked(events.wake)

    async def next(self, seconds: float) -> Sequence[ServerSentEvent] | None:
        events = None if self._reader.is_revoked() else await self._events.next(seconds)
        if events is None or self._reader.is_revoked():
            return None
        return [ServerSentEvent(event.number, event.name, event.data) for event in events]

    async def aclose(self, *, is_complete: bool) -> None:
        self._reader.close()
        await self._events.aclose()
        if self._cancels is not None and not is_complete:
            await self._services.turns.cancel(EVERYTHING, self._cancels)


async def _outcome_while_connected(request: Request, services: Services, begun: Begun) -> dict[str, Any]:
    """The turn when it is over, which a client that leaves brings about."""
    outcome = asyncio.ensure_future(services.turns.outcome(begun.turn))
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({outcome, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not outcome.done():
            await services.turns.cancel(EVERYTHING, begun.turn["id"])
        return await outcome
    finally:
        outcome.cancel()
        leaving.cancel()
        await asyncio.gather(outcome, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _answer(turn: dict[str, Any], headers: dict[str, str]) -> Response:
    """201 with the finished turn; an error that carries the turn when there is no whole answer."""
    if turn["error"] is not None:
        code, message = turn["error"]["code"], turn["error"]["message"]
        error = _FAULTS.get(code, UpstreamFailed)(message, turn=turn, reason=code)
        error.headers.update(headers)
        raise error
    return JSON(turn, status_code=201, headers={**headers, "ETag": etag(turn["version"])})
