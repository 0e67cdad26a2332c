"""What clients send and get about turns."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from app.conversations.schemas import FaultRead, MessageRead, ModelName, UsageRead
from app.kit.schemas import ID, Input, Metadata, Output
from app.turns.model import TurnState

Number = Annotated[float, Field(strict=True)]
Penalty = Annotated[Number, Field(ge=-2, le=2)]
StopText = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
ToolCallId = Annotated[str, StringConstraints(min_length=1, max_length=256)]

DELIVERY = frozenset({"stream", "on_disconnect", "when_busy"})
"""Fields that say how an answer is delivered; two requests that differ in nothing else ask the same."""


class Delivery(Input):
    stream: bool = Field(False, description="answer with server-sent events")
    on_disconnect: Literal["continue", "cancel"] = Field(
        "continue", description="what becomes of the turn when this connection breaks before its end"
    )
    when_busy: Literal["refuse", "cancel"] = Field(
        "refuse", description="another turn is running: answer 409, or cancel it"
    )


class Parameters(Delivery):
    """How a model is to answer."""

    model: ModelName | None = Field(None, description="the conversation's or the server's default when left out")
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: int | None = None
    stop: Annotated[list[StopText], Field(min_length=1, max_length=4)] | None = None
    reasoning_effort: Annotated[str, StringConstraints(min_length=1, max_length=32)] | None = None
    tools: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=128)] | None = Field(
        None, description='functions the model may call, as OpenAI describes them: {"type": "function", "function": {}}'
    )
    tool_choice: str | dict[str, Any] | None = Field(None, description="passed on with `tools`")
    suggestions: bool = Field(False, description="suggest questions that may follow; the end waits for them")


class ToolOutput(Input):
    """What a function that the model called has answered."""

    tool_call_id: ToolCallId
    content: str


class TurnCreate(Parameters):
    """A question, or what tools have answered; the answer is appended by the model."""

    content: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        None, description="the question; either this or `tool_outputs`"
    )
    tool_outputs: Annotated[list[ToolOutput], Field(min_length=1, max_length=128)] | None = Field(
        None, description="answers to all tool calls of the last message"
    )
    replaces: ID | None = Field(
        None, description="a user's message that this question takes the place of; it and all behind it are superseded"
    )
    metadata: Metadata = Field(default_factory=dict, description="of the user's message")
    when_busy: Literal["refuse", "enqueue", "cancel"] = Field(  # type: ignore[assignment]
        "refuse", description="another turn is running: answer 409, wait behind it, or cancel it"
    )


class Regenerate(Parameters):
    """Another answer to the last question."""


class Retry(Delivery):
    """The same turn once more, with the parameters it had."""


class AttemptRead(Output):
    """A call of a model that failed before its first word."""

    model: str
    provider: str
    code: str
    message: str


class _TurnRead(Output):
    id: ID
    conversation_id: ID
    owner_id: ID
    state: TurnState
    model: str = Field(description="the one that was asked")
    served_model: str | None = Field(description="the one that answered, another one after a fallback; null until then")
    provider: str | None = Field(description="of that model, or the one that failed last")
    usage: UsageRead | None
    cost: float | None = Field(description="in US dollars; null where the model has no price")
    error: FaultRead | None
    failed_attempts: int
    attempts: list[AttemptRead] = Field(description="calls that failed before another one answered")
    suggestions: list[str] | None
    last_event: int | None = Field(description="the number of the last event of its stream, once it is over")
    first_token_ms: int | None = Field(description="from `started_at` to the first word")
    total_ms: int | None = Field(description="from `started_at` to the end")
    started_at: datetime | None = Field(description="later than `created_at` when it waited for another turn")
    first_token_at: datetime | None
    finished_at: datetime | None
    version: int
    created_at: datetime


class TurnBrief(_TurnRead):
    """A turn without its words, as lists have it."""

    user_message_id: ID | None = Field(description="null where tools were answered")
    assistant_message_id: ID


class TurnRead(_TurnRead):
    """A turn with its words."""

    user_message: MessageRead | None = Field(description="null where tools were answered")
    assistant_message: MessageRead
