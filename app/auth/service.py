"""Keys: making, revoking, and finding out who comes with one."""

import asyncio
from datetime import datetime, timedelta

from bson import ObjectId
from pymongo.errors import PyMongoError

from app.auth.credentials import REFUSAL
from app.auth.memory import Memory
from app.auth.model import ApiKey
from app.auth.permissions import WHOLES, in_short, with_parts
from app.auth.principal import ROLE_PERMISSIONS, Credential, Identified, Principal
from app.auth.repository import KeyRepository
from app.auth.schemas import KeyCreate
from app.kit.clock import now
from app.kit.errors import Invalid, Unauthenticated
from app.kit.etag import Versions
from app.kit.logs import logger
from app.kit.repository import Row, Scope
from app.kit.security import SHOWN_CHARACTERS, hash_key, new_key
from app.limits.model import Quota
from app.users.repository import UserRepository

TOUCH_EVERY = timedelta(minutes=1)


class KeyService:
    def __init__(self, rows: KeyRepository, users: UserRepository, memory: Memory) -> None:
        self.rows = rows
        self.forgetting = memory.forgetting
        self._users = users
        self._touching: dict[ObjectId, asyncio.Task[None]] = {}

    async def create(self, user_id: ObjectId, new: KeyCreate) -> tuple[Row, str]:
        """A new key of the user: its row, and the secret, which is not kept. Raises Invalid."""
        if _is_over(new.expires_at):
            raise Invalid.field("body.expires_at", "is over already")
        secret = new_key()
        row = await self.rows.insert(
            ApiKey(
                user_id=user_id,
                name=new.name,
                prefix=secret[:SHOWN_CHARACTERS],
                hash=hash_key(secret),
                scopes=in_short(new.scopes or WHOLES),
                expires_at=new.expires_at,
                quota=None if new.quota is None else Quota(**new.quota.model_dump()),
            )
        )
        return row, secret

    async def delete(self, scope: Scope, id: ObjectId, versions: Versions = None) -> None:
        """Revoke a key, from now on in this process. Raises NotFound, PreconditionFailed."""
        with self.forgetting():
            await self.rows.delete(scope, id, versions=versions)

    async def identify(self, secret: str) -> Identified:
        """Who comes with this key. Raises Unauthenticated, with the same words whatever is wrong with it."""
        row = await self.rows.find_by_hash(hash_key(secret))
        if row is None or _is_over(row["expires_at"]):
            raise Unauthenticated(REFUSAL)
        account = await self._users.account(row["user_id"])
        if account is None or account.disabled:
            raise Unauthenticated(REFUSAL)
        self._touch(row)
        permissions = with_parts(row["scopes"]) & ROLE_PERMISSIONS[account.role]
        quota = row.get("quota")
        credential = Credential("key", row["_id"], None if quota is None else Quota(**quota))
        principal = Principal(account.id, credential, account.role, permissions)
        return Identified(principal, row["expires_at"])

    def _touch(self, row: Row) -> None:
        """Note the use of the key beside the request, at most once a minute."""
        id, instant = row["_id"], now()
        is_fresh = row["last_used_at"] is not None and instant - row["last_used_at"] < TOUCH_EVERY
        if not is_fresh and id not in self._touching:
            self._touching[id] = asyncio.create_task(self._note_use(id, instant))

    async def _note_use(self, id: ObjectId, instant: datetime) -> None:
        try:
            await self.rows.touch(id, instant)
        except PyMongoError as error:
            logger.warning("key_use_not_noted", error=type(error).__name__)
        finally:
            del self._touching[id]

    async def aclose(self) -> None:
        """Wait for what is still being noted."""
        if self._touching:
            await asyncio.wait(self._touching.values())


def _is_over(expires_at: datetime | None) -> bool:
    return expires_at is not None and expires_at <= now()
