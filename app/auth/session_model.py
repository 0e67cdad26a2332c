"""Sessions as they are stored: one for each time somebody signs in, with the refresh tokens that carry it on."""

from datetime import datetime
from typing import ClassVar

from beanie import Document, PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.auth.permissions import Permission
from app.kit.documents import StoredDocument


class Session(StoredDocument):
    """`epoch`: of the account when it began; a changed password counts that up."""

    user_id: PydanticObjectId
    epoch: int
    scopes: list[Permission]
    address: str
    user_agent: str
    last_used_at: datetime
    expires_at: datetime

    class Settings:
        name = "sessions"
        indexes: ClassVar = [
            IndexModel(
                [("user_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)], name="user_created_v1"
            ),
            IndexModel([("created_at", DESCENDING), ("_id", DESCENDING)], name="created_v1"),
            IndexModel("expires_at", name="expiry_v1", expireAfterSeconds=0),
        ]


class RefreshToken(Document):
    """The hash of a refresh token. A used one is kept as long as its session: who brings it again has stolen it, or
    was stolen from."""

    id: str = Field(alias="_id")  # type: ignore[assignment]
    session_id: PydanticObjectId
    user_id: PydanticObjectId
    used_at: datetime | None = None
    expires_at: datetime

    class Settings:
        name = "refresh_tokens"
        indexes: ClassVar = [
            IndexModel("session_id", name="session_v1"),
            IndexModel("user_id", name="user_v1"),
            IndexModel("expires_at", name="expiry_v1", expireAfterSeconds=0),
        ]
