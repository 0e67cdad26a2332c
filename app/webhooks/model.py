"""Webhooks, their deliveries, how far the relay has read, and hooks of other systems, as they are stored."""

from datetime import datetime
from typing import Any, ClassVar, Literal

from beanie import Document, PydanticObjectId
from pydantic import BaseModel, Field
from pymongo import ASCENDING, IndexModel

from app.kit.documents import StoredDocument
from app.kit.indexes import found_by, ordered_by

EventType = Literal[
    "conversation.created",
    "conversation.updated",
    "conversation.deleted",
    "conversation.restored",
    "message.created",
    "turn.completed",
    "turn.failed",
    "turn.cancelled",
    "turn.interrupted",
    "export.completed",
    "export.failed",
]
"""What a webhook can ask for."""
NoticeType = Literal["webhook.ping", "webhook.gap"]
"""What it is told besides, about itself."""
DeliveryState = Literal["pending", "succeeded", "failed"]
DELIVERY_STATES: tuple[DeliveryState, ...] = ("pending", "succeeded", "failed")
HookRole = Literal["user", "system", "assistant"]
HOOK_ROLES: tuple[HookRole, ...] = ("user", "system", "assistant")


class Secret(BaseModel):
    """What deliveries are signed with; the last one stays, those before it until they expire."""

    value: str
    expires_at: datetime | None = None


class Webhook(StoredDocument):
    """`hears_all`: of everybody's rows, as long as its owner is an admin. `active_from`: the place in the database's
    log behind which it hears of what happens. `failing_since`: a delivery failed then, and none has succeeded since.
    """

    owner_id: PydanticObjectId
    url: str
    events: list[EventType]
    description: str = ""
    active: bool = True
    hears_all: bool = False
    secrets: list[Secret]
    active_from: int
    failing_since: datetime | None = None
    disabled_reason: str | None = None

    class Settings:
        name = "webhooks"
        indexes: ClassVar = [
            *ordered_by("created_at", owner="owner_id"),
            *found_by("active", owner="owner_id"),
        ]


class Delivery(StoredDocument):
    """One event on its way to one webhook. `body` is what is sent, word for word, each time.

    Whoever delivers claims it: `next_attempt_at` moves behind the end of the attempt, and `claim` is a name that the
    result must bear. A process that dies leaves a delivery that is due again.
    """

    webhook_id: PydanticObjectId
    owner_id: PydanticObjectId
    conversation_id: PydanticObjectId | None = None
    event_id: str
    type: EventType | NoticeType
    body: str
    state: DeliveryState = "pending"
    attempts: int = 0
    next_attempt_at: datetime | None
    give_up_at: datetime
    claim: str | None = None
    response_status: int | None = None
    error: str | None = None
    duration_ms: int | None = None
    finished_at: datetime | None = None
    expires_at: datetime

    class Settings:
        name = "webhook_deliveries"
        indexes: ClassVar = [
            IndexModel([("webhook_id", ASCENDING), ("event_id", ASCENDING)], name="event_v1", unique=True),
            IndexModel(
                [("state", ASCENDING), ("webhook_id", ASCENDING), ("next_attempt_at", ASCENDING)], name="due_v1"
            ),
            *found_by("webhook_id", "owner_id"),
            IndexModel("conversation_id", name="conversation_v1"),
            IndexModel("expires_at", name="expiry_v1", expireAfterSeconds=0),
        ]


class RelayState(Document):
    """Which process reads the database's log for all, and how far it has come: behind `token`, or from `start` on."""

    id: str = Field(alias="_id")  # type: ignore[assignment]
    token: dict[str, Any] | None = None
    start: int | None = None
    told_at: datetime | None = None
    holder: str | None = None
    expires_at: datetime | None = None

    class Settings:
        name = "webhook_relay"


class Hook(StoredDocument):
    """A place where another system may append messages to one conversation."""

    owner_id: PydanticObjectId
    conversation_id: PydanticObjectId
    name: str
    role: HookRole = "user"
    secret: str

    class Settings:
        name = "hooks"
        indexes: ClassVar = [
            *ordered_by("created_at", owner="owner_id"),
            *found_by("conversation_id"),
        ]
