"""Writing entries: within the transaction that the act is part of, or else before the act is answered."""

from collections.abc import Mapping
from typing import Any

import pymongo
from bson import ObjectId

from app.audit.actor import current_actor
from app.audit.model import AuditEntry
from app.kit.deadlines import WRITE_SECONDS
from app.kit.transactions import current_session


async def record(
    action: str,
    resource: str,
    target_id: ObjectId | None = None,
    *,
    subject_id: ObjectId | None = None,
    details: Mapping[str, Any] = {},
) -> None:
    """Note an act of the current actor. `details`: names and figures, nothing that somebody wrote."""
    actor = current_actor()
    entry = AuditEntry(
        actor_kind=actor.kind,
        actor_id=actor.id,
        credential=actor.credential,
        credential_id=actor.credential_id,
        action=action,
        resource=resource,
        target_id=target_id,
        subject_id=subject_id,
        address=actor.address,
        request_id=actor.request_id,
        details=dict(details),
    )
    with pymongo.timeout(WRITE_SECONDS):
        await AuditEntry.get_pymongo_collection().insert_one(entry.to_row(), session=current_session())
