"""What clients get of the audit log."""

from datetime import datetime
from typing import Any

from pydantic import Field

from app.audit.actor import ActorKind
from app.kit.schemas import ID, Output


class AuditRead(Output):
    id: ID
    created_at: datetime
    actor_kind: ActorKind
    actor_id: ID | None = Field(description="the user; null where nobody was signed in")
    credential: str | None = Field(description="how they came: key, session, password or issuer")
    credential_id: ID | None = Field(description="of the key or session")
    action: str = Field(description="such as user.changed, key.created, conversation.purged, request.refused")
    resource: str
    target_id: ID | None
    subject_id: ID | None = Field(description="the user whose the target is")
    address: str | None
    request_id: str | None = Field(description="as in the answer's X-Request-Id and in the logs")
    details: dict[str, Any] = Field(description="which fields were changed, and few values such as a role")
