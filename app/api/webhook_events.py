"""What the server sends to webhooks, for OpenAPI's `webhooks`: described like routes, never called."""

from typing import Any

from fastapi import APIRouter

from app.exports.schemas import ExportEvent
from app.webhooks.payloads import (
    ConversationDeletedEvent,
    ConversationEvent,
    GapEvent,
    MessageEvent,
    PingEvent,
    TurnEvent,
)

_SIGNATURE = [
    {"name": name, "in": "header", "required": True, "description": description, "schema": {"type": "string"}}
    for name, description in (
        ("webhook-id", "The event's id, the same whenever it is sent again: remember it"),
        ("webhook-timestamp", "Seconds since 1970 of this attempt: refuse what is older than five minutes"),
        ("webhook-signature", "`v1,<base64 of HMAC-SHA256 over id.timestamp.body>`, several separated by spaces"),
    )
]
_SENT: dict[str, Any] = {
    "tags": ["webhooks"],
    "status_code": 204,
    "responses": {
        204: {"description": "Delivered, as any 2xx"},
        410: {"description": "Gone: the webhook is switched off"},
        "4XX": {"description": "Tried again for a day, as after anything else, or nothing in time"},
    },
    "openapi_extra": {"parameters": _SIGNATURE},
}

told = APIRouter()
callbacks = APIRouter()
"""The same once more for whoever reads about `POST /api/webhooks`."""

Told = ConversationEvent | ConversationDeletedEvent | MessageEvent | TurnEvent | ExportEvent | PingEvent | GapEvent


@callbacks.post("{$request.body#/url}", **_SENT)
async def event(event: Told) -> None:
    """What the webhook is told, signed with its secret; see `webhooks`."""


@told.post("conversation.created", **_SENT)
@told.post("conversation.updated", **_SENT)
@told.post("conversation.restored", **_SENT)
async def conversation(event: ConversationEvent) -> None:
    """A conversation has come (new, forked or imported), was changed by its people, or was restored."""


@told.post("conversation.deleted", **_SENT)
async def deleted_conversation(event: ConversationDeletedEvent) -> None:
    """A conversation was deleted; perhaps it can still be restored."""


@told.post("message.created", **_SENT)
async def message(event: MessageEvent) -> None:
    """A message is there with all of its words: at once, or when its answer has ended."""


@told.post("turn.completed", **_SENT)
@told.post("turn.failed", **_SENT)
@told.post("turn.cancelled", **_SENT)
@told.post("turn.interrupted", **_SENT)
async def turn(event: TurnEvent) -> None:
    """A turn has ended; its words come as `message.created`."""


@told.post("export.completed", **_SENT)
@told.post("export.failed", **_SENT)
async def export(event: ExportEvent) -> None:
    """An export is ready, or has failed."""


@told.post("webhook.ping", **_SENT)
async def ping(event: PingEvent) -> None:
    """Somebody wants to know whether this works."""


@told.post("webhook.gap", **_SENT)
async def gap(event: GapEvent) -> None:
    """The servers were away for longer than the database's log reaches back: events of this time may be missing. Read
    the lists instead, for example `/api/messages?created_at__gte=<since>`."""
