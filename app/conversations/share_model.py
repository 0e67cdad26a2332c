"""How conversations are shared, as far as it is not stored with them."""

from datetime import datetime
from typing import ClassVar

from beanie import Document, PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.kit.clock import now
from app.kit.documents import StoredDocument


class ShareLink(StoredDocument):
    """Who has its secret may read the conversation. Of the secret only the hash is kept."""

    conversation_id: PydanticObjectId
    owner_id: PydanticObjectId
    name: str
    prefix: str
    hash: str
    expires_at: datetime

    class Settings:
        name = "share_links"
        indexes: ClassVar = [
            IndexModel("hash", name="hash_v1", unique=True),
            IndexModel(
                [("conversation_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)],
                name="conversation_id_v1",
            ),
            IndexModel("owner_id", name="owner_v1"),
            IndexModel("expires_at", name="expiry_v1", expireAfterSeconds=0),
        ]


class Revocation(Document):
    """A conversation is shared with a user no more: told to every process, whose followers of it end."""

    conversation_id: PydanticObjectId
    user_id: PydanticObjectId
    at: datetime = Field(default_factory=now)

    class Settings:
        name = "revocations"
        indexes: ClassVar = [IndexModel("at", name="expiry_v1", expireAfterSeconds=24 * 3600)]
