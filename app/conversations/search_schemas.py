"""What the search over messages answers."""

from datetime import datetime

from pydantic import Field

from app.conversations.model import MessageRole, MessageStatus
from app.conversations.schemas import FaultRead, FeedbackRead, UsageRead
from app.kit.schemas import ID, Output


class FoundMessage(Output):
    """A message without what may be long: content, reasoning and tool calls."""

    id: ID
    conversation_id: ID
    owner_id: ID
    seq: int
    role: MessageRole
    status: MessageStatus
    tool_call_id: str | None
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


class FoundConversation(Output):
    """Where the message is."""

    id: ID
    title: str
    tags: list[str]


class SnippetRead(Output):
    """A part of the content around the first match. All places are code points of the whole content."""

    text: str = Field(description="at most 200 characters, cut between words where there are some")
    start: int = Field(description="where `text` begins in the content")
    ranges: list[tuple[int, int]] = Field(
        description="[from, to) of the first matches in the content, 20 at most; they may reach beyond `text`"
    )
    length: int = Field(description="of the whole content")


class SearchResult(Output):
    message: FoundMessage
    conversation: FoundConversation
    snippet: SnippetRead
    score: float | None = Field(None, description="with sort=-relevance or match=text")
    hits: int | None = Field(
        None, description="with group: matches in this conversation; null when they could not be counted in time"
    )


class SearchPage(Output):
    """A page of results."""

    items: list[SearchResult]
    next: str | None = Field(description="`after` of the next page; null at the end")
    prev: str | None = Field(
        description="`before` of the previous page; null at the beginning, and where there is none"
    )
    partial: bool | None = Field(
        None,
        description="true: the page stopped before it was full, go on with `next`; by relevance: older matches were "
        "not ranked",
    )
