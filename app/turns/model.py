"""Turns as they are stored, the log of what was said in them, and the processes that run them."""

from datetime import datetime
from typing import ClassVar, Literal

from beanie import Document, PydanticObjectId
from pydantic import BaseModel, Field
from pymongo import ASCENDING, IndexModel

from app.conversations.model import Fault, TokenUsage
from app.kit.documents import StoredDocument
from app.kit.indexes import PRESENT, found_by, found_unless, ordered_by, summed_by
from app.limits.model import Quota

TurnState = Literal["queued", "running", "completed", "failed", "cancelled", "interrupted"]
TERMINAL_STATES: tuple[TurnState, ...] = ("completed", "failed", "cancelled", "interrupted")
RETRYABLE_STATES: tuple[TurnState, ...] = ("failed", "cancelled", "interrupted")

SUMMED = (
    "owner_id",
    "model",
    "served_model",
    "provider",
    "state",
    "error.code",
    "usage.prompt",
    "usage.completion",
    "usage.total",
    "cost",
    "first_token_ms",
    "total_ms",
)
"""What summaries of turns add up or group by; all of it lies in one index, so that they read no turn."""


class Sampling(BaseModel):
    """How the model is to answer; None leaves it to the model's server."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: list[str] | None = None
    reasoning_effort: str | None = None


class Attempt(BaseModel):
    """A call of a model that failed before its first word, so that it was made again or another model was asked."""

    model: str
    provider: str
    code: str
    message: str


class Span(BaseModel):
    """Messages of a conversation, by their numbers."""

    from_seq: int
    to_seq: int


class TurnPayer(BaseModel):
    """Whose account the answer goes to: who has asked, not who owns the conversation; and with which key."""

    user_id: PydanticObjectId
    key_id: PydanticObjectId | None = None
    key_quota: Quota | None = None


class Turn(StoredDocument):
    """`user_message_id` is null where tools were answered. `tools` and `tool_choice` are JSON text, whose keys MongoDB
    does not have to bear. `last_event` is the number of the last event once the turn is over.

    What is known at the end is stored for lists, files and sums, which then need not read the answer: who gave it
    (`served_model` of `provider`; of a failed turn the provider that failed last), its cost, and how long it took from
    `started_at` on, so that waiting behind another turn is not held against the model.
    """

    conversation_id: PydanticObjectId
    owner_id: PydanticObjectId
    payer: TurnPayer | None = None
    user_message_id: PydanticObjectId | None = None
    assistant_message_id: PydanticObjectId
    answer_seq: int
    idempotency_key: str | None = None
    fingerprint: str | None = None
    state: TurnState = "running"
    worker: str | None = None
    model: str
    sampling: Sampling = Field(default_factory=Sampling)
    tools: str | None = None
    tool_choice: str | None = None
    wants_suggestions: bool = False
    supersedes: Span | None = None
    """What it takes out of the exchange, where that is too much for the transaction in which it begins: done before it
    runs, and again before it ends, in case that its process died over it."""
    suggestions: list[str] | None = None
    attempts: list[Attempt] = Field(default_factory=list)
    usage: TokenUsage | None = None
    cost: float | None = None
    error: Fault | None = None
    served_model: str | None = None
    provider: str | None = None
    failed_attempts: int = 0
    first_token_ms: int | None = None
    total_ms: int | None = None
    cancel_requested_at: datetime | None = None
    started_at: datetime | None = None
    first_token_at: datetime | None = None
    finished_at: datetime | None = None
    last_event: int | None = None

    class Settings:
        name = "turns"
        indexes: ClassVar = [
            *ordered_by("created_at", "total_ms", owner="owner_id"),
            *ordered_by("updated_at"),
            *found_by("model", "provider", "error.code", owner="owner_id", only=PRESENT),
            *found_unless("completed", "state", owner="owner_id"),
            *found_by("conversation_id"),
            summed_by("created_at", *SUMMED),
            IndexModel(
                [("conversation_id", ASCENDING), ("idempotency_key", ASCENDING)],
                name="idempotency_key_v2",
                unique=True,
                # Not $type: the planner does not see that a string is one, and would read the conversation's turns.
                partialFilterExpression={"idempotency_key": {"$gt": ""}},
            ),
            IndexModel("worker", name="running_v2", partialFilterExpression={"state": "running"}),
            IndexModel(
                [("state", ASCENDING), ("created_at", ASCENDING)],
                name="queued_v1",
                partialFilterExpression={"state": "queued"},
            ),
        ]


class EventId(BaseModel):
    """`seq` is the event's number in its turn, where 1 is the start, which is not stored."""

    turn_id: PydanticObjectId
    seq: int


class TurnEvents(Document):
    """One event of a turn: a piece of the answer (`text`), or the end with the state the turn ended in (`end`).

    The numbers of a turn are taken once and in order, which makes the log a fence too: a process that was believed dead
    finds the next number taken by the end that another one has written.
    """

    id: EventId = Field(alias="_id")  # type: ignore[assignment]
    text: str | None = None
    end: TurnState | None = None
    worker: str
    expires_at: datetime

    class Settings:
        name = "turn_events"
        indexes: ClassVar = [IndexModel("expires_at", name="expiry_v1", expireAfterSeconds=0)]


class Worker(Document):
    """A process that runs turns, believed to live until `expires_at` (the database's clock)."""

    id: str = Field(alias="_id")  # type: ignore[assignment]
    expires_at: datetime
    is_dead: bool = False
    level: int = 0
    """The last migration that its version knows."""

    class Settings:
        name = "workers"
        indexes: ClassVar = [IndexModel("expires_at", name="expiry_v1", expireAfterSeconds=24 * 3600)]
