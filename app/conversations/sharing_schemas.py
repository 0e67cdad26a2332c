"""What clients send and get about who else may read a conversation."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from app.conversations.model import MessageRole, MessageStatus
from app.kit.schemas import ID, Input, Instant, Output


class ShareWrite(Input):
    access: Literal["read", "write"] = Field(
        description="read it; or also append messages and ask, but never change, share or delete it"
    )


class ShareRead(Output):
    user_id: ID
    name: str | None
    access: Literal["read", "write"]


class ShareList(Output):
    items: list[ShareRead]


class LinkCreate(Input):
    name: Annotated[str, StringConstraints(max_length=100)] = Field("", description="for whom or what it is")
    expires_at: Instant | None = Field(None, description="at most a year away; 30 days when left out")


class LinkRead(Output):
    id: ID
    conversation_id: ID
    name: str
    prefix: str
    expires_at: datetime
    created_at: datetime


class LinkCreated(LinkRead):
    token: str | None = Field(description="shown this once; null when the request is replayed")
    path: str | None = Field(description="where anybody who has it may read; shown this once")


class LinkList(Output):
    items: list[LinkRead]


class SharedConversation(Output):
    """What a link shows: no ids, nobody's names, no instructions to the model."""

    title: str
    model: str | None
    message_count: int
    last_message_at: datetime | None
    created_at: datetime
    updated_at: datetime


class SharedMessage(Output):
    seq: int
    role: MessageRole
    content: str
    status: MessageStatus
    model: str | None
    created_at: datetime
