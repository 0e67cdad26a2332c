"""What clients send and get about turns."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from app.conversations.schemas import FaultRead, MessageRead, ModelName, UsageRead
from app.kit.schemas import ID, Input, Metadata, Output
from app.turns.model import TurnState


class TurnCreate(Input):
    """A question; the answer is appended by the model."""

    content: Annotated[str, StringConstraints(min_length=1)]
    model: ModelName | None = Field(None, description="the conversation's or the server's default when left out")
    stream: bool = Field(False, description="answer with server-sent events")
    metadata: Metadata = Field(default_factory=dict, description="of the user's message")
    temperature: Annotated[float, Field(ge=0, le=2, strict=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, strict=False)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class TurnRead(Output):
    id: ID
    conversation_id: ID
    owner_id: ID
    state: TurnState
    user_message: MessageRead
    assistant_message: MessageRead
    model: str
    usage: UsageRead | None
    error: FaultRead | None
    first_token_at: datetime | None
    finished_at: datetime | None
    version: int
    created_at: datetime
