"""Legal holds, receipts of erasures and retention policies as they are stored."""

from datetime import datetime
from typing import ClassVar, Literal

from beanie import PydanticObjectId
from bson import ObjectId
from pydantic import BaseModel, Field
from pymongo import ASCENDING, IndexModel

from app.audit.actor import ActorKind
from app.kit.documents import StoredDocument
from app.kit.indexes import found_by, ordered_by
from app.users.model import Role

HeldResource = Literal["users", "conversations"]
HELD_RESOURCES: tuple[HeldResource, ...] = ("users", "conversations")
Fate = Literal["delete", "keep"]
"""What becomes of an erased user's conversations."""
FATES: tuple[Fate, ...] = ("delete", "keep")
ErasureState = Literal["running", "completed"]
ERASURE_STATES: tuple[ErasureState, ...] = ("running", "completed")


class Hold(StoredDocument):
    """A user or a conversation that must not be removed. The target's row names it as well (`hold_id`), where removing
    and holding meet in one document."""

    resource: HeldResource
    target_id: PydanticObjectId
    reason: str
    placed_by: PydanticObjectId | None

    class Settings:
        name = "holds"
        indexes: ClassVar = [
            IndexModel("target_id", name="target_v1", unique=True),
            *ordered_by("created_at"),
        ]


class Erasure(StoredDocument):
    """The receipt of an erasure. `user_id` is there only while it runs; `subject` is the SHA-256 of it.

    `counts`: removed rows by collection. `lease`: the process that carries it out is at work until then.
    """

    subject: str
    user_id: PydanticObjectId | None
    conversations: Fate
    state: ErasureState = "running"
    requested_by: PydanticObjectId | None
    requested_kind: ActorKind
    request_id: str | None
    counts: dict[str, int] = Field(default_factory=dict)
    holder: str | None = None
    lease_until: datetime | None = None
    finished_at: datetime | None = None

    class Settings:
        name = "erasures"
        indexes: ClassVar = [
            *ordered_by("created_at"),
            *found_by("subject"),
            IndexModel(
                "user_id",
                name="running_v1",
                unique=True,
                partialFilterExpression={"user_id": {"$gte": ObjectId("0" * 24)}},
            ),
        ]


class RetentionRun(BaseModel):
    """What the last run of a policy did: conversations that were `removed`, that are `held`, and that had changed just
    when they were to be removed (`spared`)."""

    at: datetime
    removed: int
    held: int
    spared: int


class RetentionPolicy(StoredDocument):
    """Conversations whose last message is older than `days` are removed: those of owners with one of the roles, and
    with one of the tags. `next_at`: when it runs next."""

    name: str
    days: int
    roles: list[Role]
    tags: list[str]
    enabled: bool
    next_at: datetime
    holder: str | None = None
    lease_until: datetime | None = None
    last_run: RetentionRun | None = None

    class Settings:
        name = "retention_policies"
        indexes: ClassVar = [
            *ordered_by("created_at"),
            IndexModel([("enabled", ASCENDING), ("next_at", ASCENDING)], name="due_v1"),
        ]
