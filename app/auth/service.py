"""Keys: making, revoking, and finding out who comes with one."""

import asyncio
import time
from datetime import timedelta

from bson import ObjectId

from app.auth.model import PERMISSIONS, ApiKey
from app.auth.principal import ROLE_PERMISSIONS, Principal
from app.auth.repository import KeyRepository
from app.auth.schemas import KeyCreate
from app.kit.clock import now
from app.kit.errors import Invalid, Unauthenticated
from app.kit.etag import Versions
from app.kit.logs import logger
from app.kit.repository import EVERYTHING, Row, Scope
from app.kit.security import SHOWN_CHARACTERS, hash_key, new_key
from app.users.repository import UserRepository

REMEMBERED_SECONDS = 1.0
"""How long a process may go on with what it knew of a key: a revocation elsewhere takes effect within this."""
REMEMBERED_KEYS = 10_000
TOUCH_EVERY = timedelta(minutes=1)
_REFUSAL = "This key is unknown, expired or revoked."


class KeyService:
    def __init__(self, rows: KeyRepository, users: UserRepository) -> None:
        self.rows = rows
        self._users = users
        self._remembered: dict[str, tuple[float, Principal]] = {}
        self._touching: set[asyncio.Task[None]] = set()

    async def create(self, user_id: ObjectId, new: KeyCreate) -> tuple[Row, str]:
        """A new key of the user: its row, and the secret, which is not kept. Raises Invalid."""
        if new.expires_at is not None and new.expires_at <= now():
            raise Invalid.field("body.expires_at", "is over already")
        secret = new_key()
        scopes = new.scopes or PERMISSIONS
        row = await self.rows.insert(
            ApiKey(
                user_id=user_id,
                name=new.name,
                prefix=secret[:SHOWN_CHARACTERS],
                hash=hash_key(secret),
                scopes=[permission for permission in PERMISSIONS if permission in scopes],
                expires_at=new.expires_at,
            )
        )
        return row, secret

    async def delete(self, scope: Scope, id: ObjectId, versions: Versions = None) -> None:
        await self.rows.delete(scope, id, versions=versions)
        self._remembered.clear()

    async def delete_of_user(self, user_id: ObjectId) -> None:
        await self.rows.delete_of_user(user_id)
        self._remembered.clear()

    def forget(self) -> None:
        """Look every key up again: somebody's role or state has changed."""
        self._remembered.clear()

    async def authenticate(self, secret: str) -> Principal:
        """Who comes with this key. Raises Unauthenticated, with the same words whatever is wrong with it."""
        key_hash = hash_key(secret)
        remembered = self._remembered.get(key_hash)
        if remembered is not None and remembered[0] > time.monotonic():
            return remembered[1]
        row = await self.rows.find_by_hash(key_hash)
        if row is None or (row["expires_at"] is not None and row["expires_at"] <= now()):
            raise Unauthenticated(_REFUSAL)
        user = await self._users.find(EVERYTHING, {"_id": row["user_id"]}, fields=("role", "disabled"))
        if user is None or user["disabled"]:
            raise Unauthenticated(_REFUSAL)
        principal = Principal(
            user_id=row["user_id"],
            key_id=row["_id"],
            role=user["role"],
            permissions=frozenset(row["scopes"]) & ROLE_PERMISSIONS[user["role"]],
        )
        self._remember(key_hash, principal)
        self._touch(row)
        return principal

    def _remember(self, key_hash: str, principal: Principal) -> None:
        if len(self._remembered) >= REMEMBERED_KEYS:
            self._remembered.clear()
        self._remembered[key_hash] = (time.monotonic() + REMEMBERED_SECONDS, principal)

    def _touch(self, row: Row) -> None:
        """Note the use of the key beside the request, at most once a minute."""
        instant = now()
        if row["last_used_at"] is not None and instant - row["last_used_at"] < TOUCH_EVERY:
            return
        task = asyncio.create_task(self.rows.touch(row["_id"], instant))
        self._touching.add(task)
        task.add_done_callback(self._touched)

    def _touched(self, task: "asyncio.Task[None]") -> None:
        self._touching.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("key_use_not_noted", error=type(error).__name__)

    async def aclose(self) -> None:
        """Wait for what is still being noted."""
        if self._touching:
            await asyncio.wait(self._touching)
