"""Queries of users."""

from typing import Any

import pymongo
from bson import ObjectId

from app.kit.deadlines import READ_SECONDS
from app.kit.repository import Repository
from app.kit.transactions import current_session
from app.users.model import User
from app.users.resource import USERS


class UserRepository(Repository[User]):
    document = User
    resource = USERS

    async def find_by_email(self, email: str) -> dict[str, Any] | None:
        """The row of a case-folded address, whoever asks: for signing in and for the command line."""
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one({"email": email}, USERS.projection, session=current_session())

    async def password_hash(self, id: ObjectId) -> str | None:
        with pymongo.timeout(READ_SECONDS):
            row = await self.collection.find_one({"_id": id}, {"password_hash": 1}, session=current_session())
        return None if row is None else row.get("password_hash")

    async def has_admin(self) -> bool:
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one({"role": "admin"}, {"_id": 1}) is not None

    async def count_enabled_admins(self, *, besides: ObjectId) -> int:
        """Admins who can still get in, without one of them; two are never more than needed to know."""
        condition = {"role": "admin", "disabled": False, "_id": {"$ne": besides}}
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.count_documents(condition, limit=1, session=current_session())
