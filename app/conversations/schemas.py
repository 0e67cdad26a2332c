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


class ParentRead(Output):
    """Where a fork comes from."""

    conversation_id: ID
    seq: int


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
    parent: ParentRead | None
    version: int
    created_at: datetime
    updated_at: datetime


class ForkCreate(Input):
    """A new conversation that begins like another one."""

    seq: Annotated[int, Field(ge=0, description="the last message to take along; 0 takes none")]
    title: Title | None = Field(None, description="the same title when left out")


class FunctionCall(Input):
    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    arguments: Annotated[str, StringConstraints(max_length=1_000_000)]


class ToolCallInput(Input):
    id: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    type: Literal["function"] = "function"
    function: FunctionCall


class MessageCreate(Input):
    role: MessageRole
    content: str
    tool_calls: Annotated[list[ToolCallInput], Field(min_length=1, max_length=128)] | None = Field(
        None, description="of an assistant's message: the functions it wants called"
    )
    tool_call_id: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = Field(
        None, description="of a tool's message: the call it answers"
    )
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
    estimated: Literal[True] | None = Field(None, description="there when the upstream reported none")


class FunctionCallRead(Output):
    name: str
    arguments: str


class ToolCallRead(Output):
    id: str
    type: Literal["function"]
    function: FunctionCallRead


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
    tool_calls: list[ToolCallRead] | None
    tool_call_id: str | None
    reasoning: str | None
    turn_id: ID | None
    model: str | None
    provider: str | None
    usage: UsageRead | None
    cost: float | None
    finish_reason: str | None
    error: FaultRead | None
    feedback: FeedbackRead | None
    metadata: dict[str, str]
    created_at: datetime


class MessageList(Output):
    items: list[MessageRead]
