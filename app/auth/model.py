"""API keys as they are stored: the hash of the secret, never the secret."""

from datetime import datetime
from typing import ClassVar

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.auth.permissions import WHOLES, Permission
from app.kit.documents import StoredDocument
from app.kit.indexes import found_by
from app.limits.model import Quota


class ApiKey(StoredDocument):
    user_id: PydanticObjectId
    name: str
    prefix: str
    hash: str
    scopes: list[Permission] = Field(default_factory=lambda: list(WHOLES))
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    quota: Quota | None = None
    """None: as much as its user may use."""

    class Settings:
        name = "api_keys"
        indexes: ClassVar = [
            IndexModel("hash", name="hash_v1", unique=True),
            IndexModel(
                [("user_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)], name="user_created_v1"
            ),
            IndexModel([("created_at", DESCENDING), ("_id", DESCENDING)], name="created_v1"),
            *found_by("name", owner="user_id"),
        ]
