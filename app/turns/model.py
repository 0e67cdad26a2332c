"""Turns as they are stored, and the log of what was said in them."""

from datetime import datetime
from typing import ClassVar, Literal

from beanie import Document, PydanticObjectId
from pydantic import BaseModel, Field
from pymongo import ASCENDING, IndexModel

from app.conversations.model import Fault, TokenUsage
from app.kit.documents import StoredDocument

TurnState = Literal["queued", "running", "completed", "failed", "cancelled", "interrupted"]
TERMINAL_STATES: tuple[TurnState, ...] = ("completed", "failed", "cancelled", "interrupted")


class Lease(BaseModel):
    """Which process runs the turn, and until when it may be believed to live (the database's clock)."""

    worker: str
    expires_at: datetime


class Sampling(BaseModel):
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None


class Turn(StoredDocument):
    conversation_id: PydanticObjectId
    owner_id: PydanticObjectId
    user_message_id: PydanticObjectId
    assistant_message_id: PydanticObjectId
    idempotency_key: str | None = None
    fingerprint: str | None = None
    state: TurnState = "running"
    model: str
    sampling: Sampling = Field(default_factory=Sampling)
    lease: Lease | None = None
    usage: TokenUsage | None = None
    error: Fault | None = None
    first_token_at: datetime | None = None
    finished_at: datetime | None = None

    class Settings:
        name = "turns"
        indexes: ClassVar = [
            IndexModel([("conversation_id", ASCENDING), ("created_at", ASCENDING)], name="conversation_v1"),
            IndexModel(
                [("conversation_id", ASCENDING), ("idempotency_key", ASCENDING)],
                name="idempotency_key_v2",
                unique=True,
                # Not $type: the planner does not see that a string is one, and would read the conversation's turns.
                partialFilterExpression={"idempotency_key": {"$gt": ""}},
            ),
            IndexModel(
                [("state", ASCENDING), ("lease.expires_at", ASCENDING)],
                name="running_v1",
                partialFilterExpression={"state": "running"},
            ),
        ]


class TurnEvents(Document):
    """One delta of an answer; `seq` is its number in the turn's stream, where 1 is the start."""

    turn_id: PydanticObjectId
    seq: int
    text: str
    expires_at: datetime

    class Settings:
        name = "turn_events"
        indexes: ClassVar = [
            IndexModel([("turn_id", ASCENDING), ("seq", ASCENDING)], name="seq_v1", unique=True),
            IndexModel("expires_at", name="expiry_v1", expireAfterSeconds=0),
        ]
