"""Queries of sessions and their refresh tokens."""

from datetime import datetime
from typing import Any

import pymongo
from bson import ObjectId

from app.audit.audited import AuditedRepository
from app.audit.trail import record
from app.auth.resource import SESSIONS
from app.auth.session_model import RefreshToken, Session
from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.kit.repository import Row
from app.kit.transactions import current_session

_STATE = {"user_id": 1, "epoch": 1, "scopes": 1, "expires_at": 1}


class SessionRepository(AuditedRepository[Session]):
    document = Session
    resource = SESSIONS

    async def state(self, id: ObjectId) -> Row | None:
        """What decides whether the session goes on: {user_id, epoch, scopes, expires_at}."""
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one({"_id": id}, _STATE, session=current_session())

    async def touch(self, id: ObjectId, at: datetime) -> None:
        """Note that the session was carried on, which conflicts with ending it at the same time."""
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.update_one({"_id": id}, {"$set": {"last_used_at": at}}, session=current_session())

    async def remove(self, id: ObjectId) -> None:
        """The session with its tokens, if it is there."""
        with pymongo.timeout(WRITE_SECONDS):
            row = await self.collection.find_one_and_delete({"_id": id}, {"user_id": 1}, session=current_session())
            await self._tokens.delete_many({"session_id": id}, session=current_session())
        if row is not None:
            await record("session.deleted", SESSIONS.name, id, subject_id=row["user_id"])

    async def remove_of_user(self, user_id: ObjectId) -> None:
        with pymongo.timeout(WRITE_SECONDS):
            result = await self.collection.delete_many({"user_id": user_id}, session=current_session())
            await self._tokens.delete_many({"user_id": user_id}, session=current_session())
        if result.deleted_count:
            await record(
                "session.deleted", SESSIONS.name, subject_id=user_id, details={"sessions": result.deleted_count}
            )

    async def token(self, token_hash: str) -> Row | None:
        with pymongo.timeout(READ_SECONDS):
            row: Row | None = await self._tokens.find_one({"_id": token_hash}, session=current_session())
        return row

    async def add_token(self, token: RefreshToken) -> None:
        with pymongo.timeout(WRITE_SECONDS):
            await self._tokens.insert_one(token.model_dump(by_alias=True, mode="python"), session=current_session())

    async def use_token(self, token_hash: str, at: datetime) -> None:
        """Note the first use."""
        with pymongo.timeout(WRITE_SECONDS):
            await self._tokens.update_one(
                {"_id": token_hash, "used_at": None}, {"$set": {"used_at": at}}, session=current_session()
            )

    @property
    def _tokens(self) -> Any:
        return RefreshToken.get_pymongo_collection()
