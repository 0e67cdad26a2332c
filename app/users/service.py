"""What can be done with users."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from app.kit.database_errors import duplicate
from app.kit.editing import edited
from app.kit.errors import Conflict, PreconditionFailed
from app.kit.etag import Versions
from app.kit.repository import Row, Scope
from app.kit.security import hash_password
from app.kit.transactions import Transactions
from app.users.model import User
from app.users.repository import UserRepository
from app.users.schemas import MeUpdate, ProfileInput, UserCreate


class UserService:
    def __init__(
        self,
        repository: UserRepository,
        transactions: Transactions,
        *,
        end_sessions: Callable[[ObjectId], Awaitable[None]] | None = None,
    ) -> None:
        """`end_sessions`: what else a new password does, in the same transaction."""
        self.rows = repository
        self._transactions = transactions
        self._end_sessions = end_sessions

    async def create(self, new: UserCreate) -> Row:
        """Store a new user; raises Conflict when the e-mail is taken."""
        user = User(**await self._stored(new))
        try:
            return await self.rows.insert(user)
        except DuplicateKeyError as error:
            raise duplicate(error) from error

    async def replace(self, scope: Scope, id: ObjectId, update: MeUpdate, versions: Versions) -> Row:
        """Put `update` in the place of what the same schema can express; a password that is left out stays.

        Raises Conflict when the e-mail is taken or the last admin would be none any more.
        """
        stored = await self._stored(update)
        change: dict[str, Any] = {"$set": stored}
        if "password_hash" in stored:
            change["$inc"] = {"epoch": 1}  # whoever is signing in with the old password is late

        async def write() -> Row:
            before = await self.rows.get(scope, id)
            row = await self.rows.update(scope, id, change, versions=versions)
            if _is_enabled_admin(before) and not _is_enabled_admin(row):
                await self._keep_an_admin(id)
            if "password_hash" in stored and self._end_sessions is not None:
                await self._end_sessions(id)
            return row

        try:
            return await self._transactions.run(write)
        except DuplicateKeyError as error:
            raise duplicate(error) from error

    async def patch(
        self, scope: Scope, id: ObjectId, patch: Mapping[str, Any], versions: Versions, schema: type[MeUpdate]
    ) -> Row:
        """Apply a merge patch: to oneself with MeUpdate, to anyone with UserUpdate."""

        def write(update: MeUpdate, seen: Versions) -> Awaitable[Row]:
            if "password" in patch and patch["password"] is None:  # which merging takes away without a trace
                update = update.model_copy(update={"password": None})
            return self.replace(scope, id, update, seen)

        return await edited(lambda: self.rows.get(scope, id), patch, schema, write, versions)

    async def replace_profile(self, scope: Scope, id: ObjectId, profile: ProfileInput, versions: Versions) -> Row:
        try:
            return await self.rows.update(scope, id, {"$set": {"profile": profile.model_dump()}}, versions=versions)
        except PreconditionFailed as error:
            error.members["current"] = error.members["current"]["profile"]
            raise

    async def patch_profile(self, scope: Scope, id: ObjectId, patch: Mapping[str, Any], versions: Versions) -> Row:
        return await edited(
            lambda: self.rows.get(scope, id),
            patch,
            ProfileInput,
            lambda profile, seen: self.replace_profile(scope, id, profile, seen),
            versions,
            member="profile",
        )

    async def disable(self, scope: Scope, id: ObjectId, versions: Versions) -> Row:
        """Lock the user out. Raises NotFound, PreconditionFailed, and Conflict for the last admin."""

        async def write() -> Row:
            before = await self.rows.get(scope, id)
            row = await self.rows.update(scope, id, {"$set": {"disabled": True}}, versions=versions)
            if _is_enabled_admin(before):
                await self._keep_an_admin(id)
            return row

        return await self._transactions.run(write)

    async def delete(self, scope: Scope, id: ObjectId, versions: Versions = None) -> None:
        """Remove the user alone; what was theirs is the caller's to decide. Raises Conflict for the last admin."""

        async def write() -> None:
            before = await self.rows.get(scope, id)
            await self.rows.delete(scope, id, versions=versions)
            if _is_enabled_admin(before):
                await self._keep_an_admin(id)

        await self._transactions.run(write)

    async def _keep_an_admin(self, id: ObjectId) -> None:
        if not await self.rows.hold_enabled_admin(besides=id):
            raise Conflict("This is the last admin who can get in; make another one first.", reason="last_admin")

    async def _stored(self, update: MeUpdate) -> dict[str, Any]:
        stored = update.model_dump(exclude={"password"})
        if "password" in update.model_fields_set:
            given = update.password
            stored["password_hash"] = None if given is None else await hash_password(given.get_secret_value())
        return stored


def _is_enabled_admin(row: Row) -> bool:
    return row["role"] == "admin" and not row["disabled"]
