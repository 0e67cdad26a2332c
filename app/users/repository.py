"""Queries of users."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pymongo
from bson import ObjectId

from app.audit.audited import AuditedRepository
from app.audit.trail import record
from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.kit.repository import Row
from app.kit.transactions import current_session
from app.users.model import Role, User
from app.users.resource import USERS

_ENABLED_ADMIN = {"role": "admin", "disabled": False}


_ACCOUNT = {"role": 1, "disabled": 1, "epoch": 1, "password_hash": 1}


@dataclass(frozen=True)
class Account:
    """What signing in needs to know of a user. `epoch` counts the changes after which old sessions are over."""

    id: ObjectId
    role: Role
    disabled: bool
    epoch: int
    password_hash: str | None


class UserRepository(AuditedRepository[User]):
    document = User
    resource = USERS
    shown = ("role", "disabled")

    async def find_by_email(self, email: str) -> dict[str, Any] | None:
        """The row of a case-folded address, whoever asks: for signing in and for the command line."""
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one({"email": email}, USERS.projection, session=current_session())

    async def account(self, id: ObjectId) -> Account | None:
        return await self._account({"_id": id})

    async def account_by_email(self, email: str) -> Account | None:
        """The account of a case-folded address."""
        return await self._account({"email": email})

    async def replace_hash(self, id: ObjectId, old: str, new: str) -> None:
        """Store another hash of the same password, unless the password has changed meanwhile."""
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.update_one({"_id": id, "password_hash": old}, {"$set": {"password_hash": new}})

    async def account_by_external_id(self, external_id: str) -> Account | None:
        return await self._account({"external_id": external_id})

    async def tie(self, id: ObjectId, external_id: str) -> bool:
        """Let the user be this one of an issuer's; False when they are another one already."""
        with pymongo.timeout(WRITE_SECONDS):
            result = await self.collection.update_one(
                {"_id": id, "external_id": {"$in": [None, external_id]}}, {"$set": {"external_id": external_id}}
            )
        if result.modified_count:
            await record("user.changed", USERS.name, id, subject_id=id, details={"fields": ["external_id"]})
        return result.matched_count > 0

    async def _account(self, condition: Mapping[str, Any]) -> Account | None:
        with pymongo.timeout(READ_SECONDS):
            row = await self.collection.find_one(condition, _ACCOUNT, session=current_session())
        if row is None:
            return None
        return Account(row["_id"], row["role"], row["disabled"], row.get("epoch", 0), row.get("password_hash"))

    async def hold_of(self, id: ObjectId) -> ObjectId | None:
        """The legal hold that the user is under; None without one, or when they are gone."""
        row = await self.hold_state(id)
        return None if row is None else row.get("hold_id")

    async def hold_state(self, id: ObjectId) -> Row | None:
        """Whether the user is there, and {hold_id}."""
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one({"_id": id}, {"hold_id": 1}, session=current_session())

    async def put_hold(self, id: ObjectId, old: ObjectId | None, new: ObjectId | None) -> bool:
        """Put the user under a hold in the place of another one; False when that is not what they are under."""
        with pymongo.timeout(WRITE_SECONDS):
            result = await self.collection.update_one(
                {"_id": id, "hold_id": old}, {"$set": {"hold_id": new}}, session=current_session()
            )
        return result.matched_count > 0

    async def has_admin(self) -> bool:
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one({"role": "admin"}, {"_id": 1}) is not None

    async def has_enabled_admin(self) -> bool:
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one(_ENABLED_ADMIN, {"_id": 1}) is not None

    async def hold_enabled_admin(self, *, besides: ObjectId) -> bool:
        """Keep another admin as one until the transaction ends; False when there is none.

        Only seeing one would not do: in snapshots two admins who demote each other at the same time both see the
        other. Writing to the one that stays makes the two transactions conflict.
        """
        condition = {**_ENABLED_ADMIN, "_id": {"$ne": besides}}
        with pymongo.timeout(WRITE_SECONDS):
            result = await self.collection.update_one(
                condition, {"$set": {"admin_lock": ObjectId()}}, session=current_session()
            )
        return result.matched_count > 0
