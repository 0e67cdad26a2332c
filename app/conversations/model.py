"""Conversations and messages as they are stored: one document a message, in the order of `seq`."""

from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

from beanie import PydanticObjectId
from bson import ObjectId
from pydantic import BaseModel, Field
from pymongo import ASCENDING, IndexModel

from app.kit.clock import now
from app.kit.documents import StoredDocument
from app.kit.indexes import PRESENT, found_by, found_unless, lacking, one_of, ordered_by
from app.kit.windows import window_indexes
from app.search.table import MARK

UNMARKED = "unindexed_v2"
"""The index of the messages that are not in the index of texts yet."""

ConversationStatus = Literal["active", "archived", "deleted"]
CONVERSATION_STATUSES: tuple[ConversationStatus, ...] = ("active", "archived", "deleted")
MessageRole = Literal["system", "user", "assistant", "tool"]
MESSAGE_ROLES: tuple[MessageRole, ...] = ("system", "user", "assistant", "tool")
MessageStatus = Literal["complete", "streaming", "interrupted", "failed", "cancelled", "superseded"]
MESSAGE_STATUSES: tuple[MessageStatus, ...] = (
    "complete",
    "streaming",
    "interrupted",
    "failed",
    "cancelled",
    "superseded",
)
MessageKind = Literal["message", "function_call", "function_call_output", "reasoning"]
Rating = Literal["up", "down"]
RATINGS: tuple[Rating, ...] = ("up", "down")


class TokenUsage(BaseModel):
    prompt: int = 0
    completion: int = 0
    total: int = 0


class Parent(BaseModel):
    """Where a fork comes from: the messages up to `seq` of another conversation."""

    conversation_id: PydanticObjectId
    seq: int


class CalledFunction(BaseModel):
    name: str
    arguments: str
    """JSON text as the model wrote it, which need not be JSON."""


class ToolCall(BaseModel):
    """A function that the model wants called, in the shape of OpenAI's chat completions."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class Feedback(BaseModel):
    rating: Rating
    comment: str | None = None


class Fault(BaseModel):
    """Why an answer failed: a stable code and a sentence."""

    code: str
    message: str


class Transition(BaseModel):
    """What has last become of a conversation. Who follows the changes is told of it here, owner included: by then the
    row may be gone."""

    event: Literal["created", "deleted", "restored"]
    at: datetime
    owner_id: PydanticObjectId

    @classmethod
    def stored(cls, event: Literal["created", "deleted", "restored"], owner_id: ObjectId) -> dict[str, Any]:
        """The field that says what becomes of a conversation now."""
        return {"transition": cls(event=event, at=now(), owner_id=PydanticObjectId(owner_id)).model_dump()}


class Conversation(StoredDocument):
    windowed: ClassVar = ("title",)
    normalized: ClassVar = windowed

    owner_id: PydanticObjectId
    title: str = ""
    system_prompt: str | None = None
    model: str | None = None
    tags: list[str] = Field(default_factory=list)
    metadata: dict[str, str] = Field(default_factory=dict)
    status: ConversationStatus = "active"
    last_seq: int = 0
    message_count: int = 0
    tokens: TokenUsage = Field(default_factory=TokenUsage)
    last_message_at: datetime | None = None
    active_turn_id: PydanticObjectId | None = None
    """The turn that holds the conversation: it runs, or is the next one to."""
    waiting_turn_ids: list[PydanticObjectId] = Field(default_factory=list)
    """Turns behind it, in order."""
    parent: Parent | None = None
    readers: list[PydanticObjectId] = Field(default_factory=list)
    """Users it is shared with; `writers` are those of them who may also go on with it."""
    writers: list[PydanticObjectId] = Field(default_factory=list)
    source_id: str | None = None
    import_id: PydanticObjectId | None = None
    arrived_at: datetime | None = None
    """When it came, if that may be later than its times say."""
    transition: Transition | None = None
    """None as long as it has only been inserted."""
    hold_id: PydanticObjectId | None = None
    """The legal hold it is under: then it is not removed."""
    purging_at: datetime | None = None
    """It is being removed for good: then it can neither be restored nor held any more."""

    class Settings:
        name = "conversations"
        indexes: ClassVar = [
            *ordered_by("created_at", "updated_at", "last_message_at", "title", owner="owner_id"),
            *found_by("model", "tags", owner="owner_id", only=PRESENT),
            *found_by("status", owner="owner_id", only=one_of(("archived", "deleted"))),
            *window_indexes("owner_id"),
            *found_by("readers", only={"$gte": ObjectId("0" * 24)}),
            IndexModel(
                [("import_id", ASCENDING), ("_id", ASCENDING)],
                name="import_v1",
                partialFilterExpression={"import_id": {"$gte": ObjectId("0" * 24)}},
            ),
            IndexModel(
                "arrived_at",
                name="arrived_v1",
                partialFilterExpression={"arrived_at": {"$gt": datetime(1970, 1, 1, tzinfo=UTC)}},
            ),
            IndexModel(
                [("owner_id", ASCENDING), ("hold_id", ASCENDING)],
                name="held_v1",
                partialFilterExpression={"hold_id": {"$gte": ObjectId("0" * 24)}},
            ),
            IndexModel(
                [("owner_id", ASCENDING), ("source_id", ASCENDING)],
                name="source_v2",
                unique=True,
                # Not $type: the planner does not see that a string is one, and would read all of the owner's rows.
                partialFilterExpression={"source_id": {"$gt": ""}},
            ),
        ]


class Message(StoredDocument):
    normalized: ClassVar = ("content",)

    conversation_id: PydanticObjectId
    owner_id: PydanticObjectId
    seq: int
    kind: MessageKind = "message"
    role: MessageRole
    content: str
    parts: list[dict[str, Any]] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning: str | None = None
    status: MessageStatus = "complete"
    turn_id: PydanticObjectId | None = None
    model: str | None = None
    provider: str | None = None
    usage: TokenUsage | None = None
    cost: float | None = None
    latency_ms: int | None = None
    finish_reason: str | None = None
    error: Fault | None = None
    feedback: Feedback | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    deleted_at: datetime | None = None

    class Settings:
        name = "messages"
        indexes: ClassVar = [
            IndexModel([("conversation_id", ASCENDING), ("seq", ASCENDING)], name="seq_v1", unique=True),
            *ordered_by("created_at", owner="owner_id"),
            *ordered_by("updated_at"),
            *found_by("model", "provider", "error.code", "feedback.rating", owner="owner_id", only=PRESENT),
            *found_unless("stop", "finish_reason", owner="owner_id"),
            *found_unless("complete", "status", owner="owner_id"),
            *found_by("role", owner="owner_id", only=one_of(("system", "tool"))),
            *found_by("conversation_id"),
            lacking(MARK, name=UNMARKED),
            *found_by("turn_id", only={"$gte": ObjectId("0" * 24)}),
        ]
