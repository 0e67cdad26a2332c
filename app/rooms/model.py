"""Who follows which conversation, as it is stored for all processes to see."""

from datetime import datetime
from typing import ClassVar

from beanie import Document, PydanticObjectId
from pydantic import BaseModel, Field
from pymongo import IndexModel


class PresenceId(BaseModel):
    """The conversation comes first, so that the presence of one room is a range, and so that a removal, of which a
    change stream tells no more than the id, says whose room it was."""

    conversation_id: PydanticObjectId
    subscription: PydanticObjectId


class Presence(Document):
    """One subscription: somebody follows a conversation through a process.

    The process removes it; another one does when that process is dead. What both miss expires.
    """

    id: PresenceId = Field(alias="_id")  # type: ignore[assignment]
    user_id: PydanticObjectId
    name: str
    worker: str
    expires_at: datetime

    class Settings:
        name = "presence"
        indexes: ClassVar = [
            IndexModel("worker", name="worker_v1"),
            IndexModel("expires_at", name="expiry_v1", expireAfterSeconds=0),
        ]
