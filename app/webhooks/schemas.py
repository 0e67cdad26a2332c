"""What clients send and get about webhooks, deliveries and hooks."""

from datetime import datetime
from typing import Annotated, get_args

from pydantic import AfterValidator, Field, StringConstraints

from app.kit.addresses import MAX_URL_CHARACTERS
from app.kit.schemas import ID, Input, Metadata, Output
from app.webhooks.model import DeliveryState, EventType, HookRole, NoticeType

MAX_OVERLAP_SECONDS = 7 * 24 * 3600

Url = Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL_CHARACTERS)]
Description = Annotated[str, StringConstraints(max_length=500)]


def _unique(events: list[EventType]) -> list[EventType]:
    return list(dict.fromkeys(events))


Events = Annotated[list[EventType], Field(min_length=1, max_length=len(get_args(EventType))), AfterValidator(_unique)]


class WebhookUpdate(Input):
    """What may be changed of a webhook."""

    url: Url = Field(description="https, on the public internet unless the operator has allowed the host")
    events: Events
    description: Description = ""
    active: bool = Field(True, description="true also takes back that it was switched off after failures")
    hears_all: bool = Field(False, description="of everybody's rows; for admins only")


class WebhookCreate(WebhookUpdate):
    pass


class Rotate(Input):
    overlap: Annotated[int, Field(ge=0, le=MAX_OVERLAP_SECONDS)] = Field(
        24 * 3600, description="seconds for which deliveries are signed with the old secret too"
    )


class WebhookRead(Output):
    id: ID
    owner_id: ID
    url: str
    events: list[EventType]
    description: str
    active: bool
    hears_all: bool
    failing_since: datetime | None = Field(description="a delivery failed then, and none has succeeded since")
    disabled_reason: str | None = Field(description="why the server has switched it off")
    version: int
    created_at: datetime
    updated_at: datetime


class WebhookCreated(WebhookRead):
    secret: str | None = Field(description="shown this once; null when the request is replayed")


class DeliveryRead(Output):
    id: ID
    webhook_id: ID
    event_id: str = Field(description="the `webhook-id` header, the same in each attempt")
    type: EventType | NoticeType
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime | None
    response_status: int | None
    error: str | None
    duration_ms: int | None
    finished_at: datetime | None
    created_at: datetime


class HookCreate(Input):
    conversation_id: ID
    name: Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
    role: HookRole = Field("user", description="of all messages that come this way")


class HookRead(Output):
    id: ID
    owner_id: ID
    conversation_id: ID
    name: str
    role: HookRole
    created_at: datetime


class HookCreated(HookRead):
    secret: str | None = Field(description="shown this once; null when the request is replayed")


class HookMessage(Input):
    """What another system says."""

    content: str
    metadata: Metadata = Field(default_factory=dict)
