"""Queries of API keys."""

from datetime import datetime

import pymongo
from bson import ObjectId

from app.audit.audited import AuditedRepository
from app.audit.trail import record
from app.auth.model import ApiKey
from app.auth.resource import KEYS
from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.kit.repository import Row
from app.kit.transactions import current_session


class KeyRepository(AuditedRepository[ApiKey]):
    document = ApiKey
    resource = KEYS
    shown = ("scopes",)

    async def find_by_hash(self, key_hash: str) -> Row | None:
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one({"hash": key_hash}, KEYS.projection)

    async def touch(self, id: ObjectId, at: datetime) -> None:
        """Note when the key was last used, unless a later use is noted."""
        condition = {"_id": id, "last_used_at": {"$not": {"$gt": at}}}
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.update_one(condition, {"$set": {"last_used_at": at}})

    async def put(self, key: ApiKey) -> None:
        """Store the key; one of its hash becomes this user's, with these scopes and this expiry."""
        row = key.to_row()
        granted = {name: row.pop(name) for name in ("user_id", "scopes", "expires_at")}
        change = {"$set": granted, "$setOnInsert": row}
        with pymongo.timeout(WRITE_SECONDS):
            result = await self.collection.update_one({"hash": row["hash"]}, change, upsert=True)
        if result.upserted_id is not None:
            await record("key.created", KEYS.name, result.upserted_id, subject_id=key.user_id)

    async def delete_of_user(self, user_id: ObjectId) -> None:
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.delete_many({"user_id": user_id}, session=current_session())
