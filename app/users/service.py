"""What can be done with users."""

from collections.abc import Mapping
from typing import Any

from bson import ObjectId
from pydantic import SecretStr
from pymongo.errors import DuplicateKeyError

from app.kit.database_errors import duplicate
from app.kit.editing import edited
from app.kit.errors import Conflict
from app.kit.etag import Versions
from app.kit.repository import Row, Scope
from app.kit.security import hash_password
from app.kit.transactions import Transactions
from app.users.model import User
from app.users.repository import UserRepository
from app.users.schemas import MeUpdate, ProfileInput, UserCreate


class UserService:
    def __init__(self, repository: UserRepository, transactions: Transactions) -> None:
        self.rows = repository
        self._transactions = transactions

    async def create(self, new: UserCreate) -> Row:
        """Store a new user; raises Conflict when the e-mail is taken."""
        user = User(**await self._stored(new))
        try:
            return await self.rows.insert(user)
        except DuplicateKeyError as error:
            raise duplicate(error) from error

    async def replace(self, scope: Scope, id: ObjectId, update: MeUpdate, versions: Versions) -> Row:
        """Put `update` in the place of what the same schema can express; a password that is left out stays."""
        stored = await self._stored(update)

        async def write() -> Row:
            before = await self.rows.get(scope, id)
            row = await self.rows.update(scope, id, {"$set": stored}, versions=versions)
            if _is_enabled_admin(before) and not _is_enabled_admin(row):
                await self._keep_an_admin(id)
            return row

        try:
            return await self._transactions.run(write)
        except DuplicateKeyError as error:
            raise duplicate(error) from error

    async def patch(
        self, scope: Scope, id: ObjectId, patch: Mapping[str, Any], versions: Versions, schema: type[MeUpdate]
    ) -> Row:
        """Apply a merge patch: to oneself with MeUpdate, to anyone with UserUpdate."""
        return await edited(
            lambda: self.rows.get(scope, id),
            patch,
            schema,
            lambda update, seen: self.replace(scope, id, update, seen),
            versions,
        )

    async def replace_profile(self, scope: Scope, id: ObjectId, profile: ProfileInput, versions: Versions) -> Row:
        return await self.rows.update(scope, id, {"$set": {"profile": profile.model_dump()}}, versions=versions)

    async def patch_profile(self, scope: Scope, id: ObjectId, patch: Mapping[str, Any], versions: Versions) -> Row:
        return await edited(
            lambda: self.rows.get(scope, id),
            patch,
            ProfileInput,
            lambda profile, seen: self.replace_profile(scope, id, profile, seen),
            versions,
            member="profile",
        )

    async def check_removable(self, row: Row) -> None:
        """Raises Conflict when this is the last admin."""
        if _is_enabled_admin(row):
            await self._keep_an_admin(row["_id"])

    async def delete(self, scope: Scope, id: ObjectId, versions: Versions) -> None:
        """Remove the user alone; what was theirs is the caller's to decide. Raises Conflict for the last admin."""

        async def write() -> None:
            before = await self.rows.get(scope, id)
            await self.rows.delete(scope, id, versions=versions)
            if _is_enabled_admin(before):
                await self._keep_an_admin(id)

        await self._transactions.run(write)

    async def _keep_an_admin(self, id: ObjectId) -> None:
        if not await self.rows.count_enabled_admins(besides=id):
            raise Conflict("This is the last admin who can get in; make another one first.", reason="last_admin")

    async def _stored(self, update: MeUpdate) -> dict[str, Any]:
        stored = update.model_dump(exclude={"password"})
        if isinstance(update.password, SecretStr):
            stored["password_hash"] = await hash_password(update.password.get_secret_value())
        return stored


def _is_enabled_admin(row: Row) -> bool:
    return row["role"] == "admin" and not row["disabled"]
