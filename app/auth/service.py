"""Keys: making, revoking, and finding out who comes with one."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from time import monotonic

from bson import ObjectId
from pymongo.errors import PyMongoError

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
        self._remembered: dict[str, tuple[float, datetime | None, Principal]] = {}
        self._changes = 0
        self._touching: dict[ObjectId, asyncio.Task[None]] = {}

    async def create(self, user_id: ObjectId, new: KeyCreate) -> tuple[Row, str]:
        """A new key of the user: its row, and the secret, which is not kept. Raises Invalid."""
        if _is_over(new.expires_at):
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
        """Revoke a key, from now on in this process. Raises NotFound, PreconditionFailed."""
        with self.forgetting():
            await self.rows.delete(scope, id, versions=versions)

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """Look every key up again after what happens inside: somebody's keys, role or state may have changed, even
        when it failed. A transaction has to end inside too."""
        try:
            yield
        finally:
            self._changes += 1
            self._remembered.clear()

    async def authenticate(self, secret: str) -> Principal:
        """Who comes with this key. Raises Unauthenticated, with the same words whatever is wrong with it."""
        key_hash = hash_key(secret)
        if (remembered := self._recall(key_hash)) is not None:
            return remembered
        changes = self._changes
        row = await self.rows.find_by_hash(key_hash)
        if row is None or _is_over(row["expires_at"]):
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
        if changes == self._changes:  # otherwise what was read may be older than the change
            self._remember(key_hash, row["expires_at"], principal)
        self._touch(row)
        return principal

    def _recall(self, key_hash: str) -> Principal | None:
        """What is known of the key, unless that is too old or the key has expired since."""
        if (remembered := self._remembered.get(key_hash)) is None:
            return None
        until, expires_at, principal = remembered
        return None if until <= monotonic() or _is_over(expires_at) else principal

    def _remember(self, key_hash: str, expires_at: datetime | None, principal: Principal) -> None:
        if len(self._remembered) >= REMEMBERED_KEYS:
            self._remembered.clear()
        self._remembered[key_hash] = (monotonic() + REMEMBERED_SECONDS, expires_at, principal)

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
