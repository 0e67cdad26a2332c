"""What clients send and get about conversations and messages."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from app.conversations.model import ConversationStatus, MessageRole, MessageStatus, Rating
from app.kit.schemas import ID, Input, Metadata, Output, Tag

MAX_APPENDED = 1000


def _unique(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(tags))


Title = Annotated[str, StringConstraints(max_length=500)]
SystemPrompt = Annotated[str, StringConstraints(max_length=100_000)]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Tags = Annotated[list[Tag], Field(max_length=64), AfterValidator(_unique)]


class ConversationUpdate(Input):
    """What may be changed of a conversation, as PUT replaces it."""

    title: Title = ""
    system_prompt: SystemPrompt | None = None
    model: ModelName | None = Field(None, description="model of its turns; the server's default when left out")
    tags: Tags = Field(default_factory=list)
    metadata: Metadata = Field(default_factory=dict)
    status: Literal["active", "archived"] = "active"


class ConversationCreate(ConversationUpdate):
    owner_id: ID | None = Field(None, description="yourself when left out; admins may name another user")


class ConversationRead(Output):
    id: ID
    owner_id: ID
    title: str
    system_prompt: str | None
    model: str | None
    tags: list[str]
    metadata: dict[str, str]
    status: ConversationStatus
    message_count: int
    last_seq: int
    last_message_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime


class MessageCreate(Input):
    role: MessageRole
    content: str
    model: ModelName | None = None
    metadata: Metadata = Field(default_factory=dict)


class MessagesCreate(Input):
    """Messages that are appended together: all of them or none."""

    messages: Annotated[list[MessageCreate], Field(min_length=1, max_length=MAX_APPENDED)]


class FeedbackInput(Input):
    rating: Rating
    comment: Annotated[str, StringConstraints(max_length=10_000)] | None = None


class MessageUpdate(Input):
    """What may be changed of a message; its words never change."""

    feedback: FeedbackInput | None = None
    metadata: Metadata = Field(default_factory=dict)


class UsageRead(Output):
    prompt: int
    completion: int
    total: int


class FeedbackRead(Output):
    rating: Rating
    comment: str | None


class FaultRead(Output):
    code: str
    message: str


class MessageRead(Output):
    id: ID
    conversation_id: ID
    owner_id: ID
    seq: int
    role: MessageRole
    content: str
    status: MessageStatus
    turn_id: ID | None
    model: str | None
    provider: str | None
    usage: UsageRead | None
    finish_reason: str | None
    error: FaultRead | None
    feedback: FeedbackRead | None
    metadata: dict[str, str]
    created_at: datetime


class MessageList(Output):
    items: list[MessageRead]
