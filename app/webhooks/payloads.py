"""The shapes of what webhooks are told, for OpenAPI; that of an export's end is `app.exports.schemas.ExportEvent`."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from app.conversations.schemas import ConversationRead, MessageRead
from app.kit.schemas import ID, Output
from app.turns.schemas import TurnBrief


class ConversationEvent(Output):
    """A conversation has come, was changed by its people (not by its messages), or was restored."""

    type: Literal["conversation.created", "conversation.updated", "conversation.restored"]
    timestamp: datetime = Field(description="when it happened")
    data: ConversationRead


class DeletedConversation(Output):
    id: ID
    owner_id: ID
    deleted_at: datetime


class ConversationDeletedEvent(Output):
    """A conversation was deleted; perhaps it can still be restored."""

    type: Literal["conversation.deleted"]
    timestamp: datetime
    data: DeletedConversation


class ToldMessage(MessageRead):
    content: str | None  # type: ignore[assignment]
    omitted: list[str] = Field(description="texts that are too long for an event: read the message with GET")


class MessageEvent(Output):
    """A message is there with all of its words: at once, or when its answer has ended."""

    type: Literal["message.created"]
    timestamp: datetime
    data: ToldMessage


class TurnEvent(Output):
    """A turn has ended; its words come as message.created."""

    type: Literal["turn.completed", "turn.failed", "turn.cancelled", "turn.interrupted"]
    timestamp: datetime
    data: TurnBrief


class PingedWebhook(Output):
    webhook_id: ID


class PingEvent(Output):
    """Somebody wants to know whether this works."""

    type: Literal["webhook.ping"]
    timestamp: datetime
    data: PingedWebhook


class Gap(Output):
    webhook_id: ID
    since: datetime | None
    until: datetime


class GapEvent(Output):
    """The server was away for longer than the database's log reaches back: events of this time may be missing. Read the
    lists instead, for example /api/messages?created_at__gte=<since>."""

    type: Literal["webhook.gap"]
    timestamp: datetime
    data: Gap
