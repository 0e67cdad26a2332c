"""What clients send over a WebSocket: one envelope a message, told apart by `type`."""

from typing import Annotated, Any, Literal

from bson import ObjectId
from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from app.auth.credentials import MAX_CHARACTERS
from app.kit import strict_json
from app.kit.errors import Invalid, VerbatimError
from app.kit.idempotency import MAX_KEY_CHARACTERS
from app.kit.schemas import ID, INT64_MAX, Input
from app.turns.schemas import Regenerate, Retry, TurnCreate

RequestId = Annotated[str, StringConstraints(min_length=1, max_length=100)]
IdempotencyKey = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_KEY_CHARACTERS, pattern=r"^[\x20-\x7e]+$")
]
OPAQUE = ("turn",)
"""`turn.tools` holds JSON Schemas, whose keys are their own; everything else in a turn is declared."""


class Envelope(Input):
    id: RequestId = Field(description="chosen by the client; the answer carries it")


class AuthMessage(Input):
    type: Literal["auth"]
    id: RequestId | None = None
    token: Annotated[str, StringConstraints(min_length=1, max_length=MAX_CHARACTERS)]


class SubscribeMessage(Envelope):
    type: Literal["subscribe"]
    conversation_id: ID
    after_seq: Annotated[int, Field(ge=0, le=INT64_MAX)] | None = None


class UnsubscribeMessage(Envelope):
    type: Literal["unsubscribe"]
    conversation_id: ID


class FollowMessage(Envelope):
    type: Literal["follow"]
    turn_id: ID
    after: Annotated[int, Field(ge=0, lt=2**31)] = 0


class UnfollowMessage(Envelope):
    type: Literal["unfollow"]
    turn_id: ID


class AskMessage(Envelope):
    type: Literal["ask"]
    conversation_id: ID
    turn: TurnCreate
    idempotency_key: IdempotencyKey | None = None


class RegenerateMessage(Envelope):
    type: Literal["regenerate"]
    conversation_id: ID
    turn: Regenerate = Field(default_factory=Regenerate)
    idempotency_key: IdempotencyKey | None = None


class RetryMessage(Envelope):
    type: Literal["retry"]
    turn_id: ID
    turn: Retry = Field(default_factory=Retry)
    idempotency_key: IdempotencyKey | None = None


class CancelMessage(Envelope):
    type: Literal["cancel"]
    turn_id: ID


class PingMessage(Envelope):
    type: Literal["ping"]


AnyMessage = (
    AuthMessage
    | SubscribeMessage
    | UnsubscribeMessage
    | FollowMessage
    | UnfollowMessage
    | AskMessage
    | RegenerateMessage
    | RetryMessage
    | CancelMessage
    | PingMessage
)
_MESSAGES: TypeAdapter[AnyMessage] = TypeAdapter(Annotated[AnyMessage, Field(discriminator="type")])


def target_of(message: AnyMessage) -> tuple[str, ObjectId | None]:
    """The resource that a message is about, and the id that it names."""
    if isinstance(message, AuthMessage | PingMessage):
        return "socket", None
    if isinstance(message, FollowMessage | UnfollowMessage | RetryMessage | CancelMessage):
        return "turns", message.turn_id
    return "conversations", message.conversation_id


class Malformed(Exception):
    """A message that is no request; `id` is the one it has, `error` what the client is told."""

    def __init__(self, id: str | None, error: VerbatimError | ValidationError) -> None:
        super().__init__(str(id))
        self.id = id
        self.error = error


def parse(text: str) -> AnyMessage:
    """The request in a text frame. Raises Malformed."""
    try:
        value = strict_json.loads(text.encode(), opaque=OPAQUE)
    except strict_json.InvalidJSON as error:
        raise Malformed(None, Invalid.field("body", error.msg)) from error
    try:
        return _MESSAGES.validate_python(value)
    except ValidationError as error:
        raise Malformed(_id_of(value), error) from error


def _id_of(value: Any) -> str | None:
    id = value.get("id") if isinstance(value, dict) else None
    return id if isinstance(id, str) and len(id) <= 100 else None
