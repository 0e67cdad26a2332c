"""What clients send and get about holds, erasures and retention policies."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from app.audit.actor import ActorKind
from app.kit.schemas import ID, Input, Output, Tag
from app.privacy.model import ErasureState, Fate, HeldResource, RetentionRun
from app.users.model import ROLES, Role

MOST_DAYS = 36_500

Name = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=1000, strip_whitespace=True)]


class HoldCreate(Input):
    resource: HeldResource
    target_id: ID
    reason: Reason = Field(description="for admins to read, such as the number of the case")


class HoldRead(Output):
    id: ID
    resource: HeldResource
    target_id: ID
    reason: str
    placed_by: ID | None = Field(description="the admin; null for a command on the server")
    version: int
    created_at: datetime


class ErasureRead(Output):
    id: ID
    subject: str = Field(description="SHA-256 of the user's id (24 hexadecimal digits), in hexadecimal digits")
    conversations: Fate
    state: ErasureState = Field(description="running until nothing is left to be done")
    requested_by: ID | None
    requested_kind: ActorKind
    request_id: str | None
    counts: dict[str, int] = Field(description="removed rows by collection")
    created_at: datetime
    finished_at: datetime | None


class PolicyInput(Input):
    """A retention policy."""

    name: Name
    days: Annotated[int, Field(ge=1, le=MOST_DAYS)] = Field(description="older than this is the last message")
    roles: Annotated[list[Role], Field(max_length=len(ROLES))] = Field(
        default_factory=list, description="of the conversations' owners; any without"
    )
    tags: Annotated[list[Tag], Field(max_length=50)] = Field(
        default_factory=list, description="one of which a conversation has; any without"
    )
    enabled: bool = Field(False, description="removes nothing before it is switched on; try a dry run first")

    @model_validator(mode="after")
    def _is_narrow(self) -> "PolicyInput":
        if not self.roles and not self.tags:
            raise ValueError("name roles or tags: a policy of everything is all three roles")
        return self


class PolicyRead(Output):
    id: ID
    name: str
    days: int
    roles: list[Role]
    tags: list[str]
    enabled: bool
    next_at: datetime
    last_run: RetentionRun | None = Field(description="what its last run did")
    version: int
    created_at: datetime
    updated_at: datetime


class DryRun(Output):
    """What a policy would remove now."""

    before: datetime = Field(description="the last message is older than this")
    conversations: int
    messages: int
    held: int = Field(description="conversations that stay because they, or their owners, are under a hold")
    oldest: datetime | None = Field(description="the oldest last message of what would be removed")
    complete: bool = Field(description="false when counting took too long: there are more")
