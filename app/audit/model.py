"""Entries of the audit log as they are stored."""

from typing import Any, ClassVar

from beanie import PydanticObjectId
from pydantic import Field

from app.audit.actor import ActorKind
from app.kit.documents import StoredDocument
from app.kit.indexes import PRESENT, found_by, ordered_by


class AuditEntry(StoredDocument):
    """One act. `target_id`: of the row of `resource` that it was done to; `subject_id`: the user whose that is.

    `details` holds names of fields and values of few kinds (a role, a count), never a text that somebody wrote.
    """

    actor_kind: ActorKind
    actor_id: PydanticObjectId | None = None
    credential: str | None = None
    credential_id: PydanticObjectId | None = None
    action: str
    resource: str
    target_id: PydanticObjectId | None = None
    subject_id: PydanticObjectId | None = None
    address: str | None = None
    request_id: str | None = None
    details: dict[str, Any] = Field(default_factory=dict)

    class Settings:
        name = "audit"
        indexes: ClassVar = [
            *ordered_by("created_at", owner="actor_id"),
            *ordered_by("updated_at"),
            *found_by("action", "resource", "target_id", "subject_id"),
            *found_by("address", "request_id", only=PRESENT),
        ]
