"""The keys that sign access tokens: made by the processes themselves, shared through the database, replaced in time.

A new key signs at once; the one before it still verifies until the last token that it signed is over. With
`VERBATIM_TOKEN_SECRET` the stored half of a key is useless without the setting: who reads the database signs nothing.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, ClassVar

import pymongo
from beanie import Document
from pydantic import Field
from pymongo import DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from app.kit.clock import now
from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS

LOADED_SECONDS = 1.0
"""How long a process goes on with the keys it has read: a key that is withdrawn is useless within this."""


class SigningKey(Document):
    """One generation. `expires_at`: when it verifies no more, once there is a newer one."""

    id: int = Field(alias="_id")  # type: ignore[assignment]
    kid: str
    secret: bytes
    created_at: datetime
    expires_at: datetime | None = None

    class Settings:
        name = "signing_keys"
        indexes: ClassVar = [IndexModel("expires_at", name="expiry_v1", expireAfterSeconds=0)]


@dataclass(frozen=True)
class Key:
    generation: int
    kid: str
    secret: bytes
    created_at: datetime
    expires_at: datetime | None

    @property
    def counts(self) -> bool:
        return self.expires_at is None or self.expires_at > now()


class SigningKeyRepository:
    """Queries of signing keys."""

    async def all(self) -> Sequence[dict[str, Any]]:
        """The newest first."""
        with pymongo.timeout(READ_SECONDS):
            return list(await self._collection.find({}, sort=[("_id", DESCENDING)]).to_list())

    async def add(self, generation: int) -> None:
        """Make the key of a generation, unless another process has just done so."""
        row = {
            "_id": generation,
            "kid": secrets.token_hex(8),
            "secret": secrets.token_bytes(32),
            "created_at": now(),
            "expires_at": None,
        }
        with pymongo.timeout(WRITE_SECONDS):
            try:
                await self._collection.insert_one(row)
            except DuplicateKeyError:
                return

    async def retire(self, before: int, at: datetime) -> None:
        """Let the older generations end."""
        condition = {"_id": {"$lt": before}, "expires_at": None}
        with pymongo.timeout(WRITE_SECONDS):
            await self._collection.update_many(condition, {"$set": {"expires_at": at}})

    async def remove(self, before: int) -> None:
        with pymongo.timeout(WRITE_SECONDS):
            await self._collection.delete_many({"_id": {"$lt": before}})

    @property
    def _collection(self) -> Any:
        return SigningKey.get_pymongo_collection()


class SigningKeys:
    def __init__(self, rows: SigningKeyRepository, *, secret: str, max_age: timedelta, token_life: timedelta) -> None:
        """`secret`: of the setting, perhaps empty; `max_age`: after which a key is replaced; `token_life`: of what
        they sign."""
        self._rows = rows
        self._secret = secret.encode()
        self._max_age = max_age
        self._token_life = token_life
        self._keys: dict[str, Key] = {}
        self._loaded_at = -LOADED_SECONDS
        self._loading = asyncio.Lock()

    async def newest(self) -> Key:
        """The key to sign with; a new one when the last has become too old."""
        await self._load()
        newest = self._newest()
        if newest is None or newest.created_at + self._max_age <= now():
            newest = await self.rotate()
        return newest

    async def find(self, kid: str) -> Key | None:
        """The key to verify with; None when there is none, or none any more."""
        await self._load(kid)
        key = self._keys.get(kid)
        return key if key is not None and key.counts else None

    async def rotate(self, *, withdraw: bool = False) -> Key:
        """Sign with a new key from now on. `withdraw`: nothing that the old ones have signed counts any more."""
        await self._load(refresh=True)
        last = self._newest()
        generation = last.generation + 1 if last else 1
        await self._rows.add(generation)
        if withdraw:
            await self._rows.remove(generation)
        else:
            await self._rows.retire(generation, now() + self._token_life)
        await self._load(refresh=True)
        newest = self._newest()
        assert newest is not None  # noqa: S101 it was just stored
        return newest

    def _newest(self) -> Key | None:
        return max(self._keys.values(), key=lambda key: key.generation, default=None)

    async def _load(self, kid: str | None = None, *, refresh: bool = False) -> None:
        """Read the keys again when that was too long ago, or when one is asked for that was not there."""
        asked = monotonic()
        is_fresh = self._loaded_at + LOADED_SECONDS > asked and (kid is None or kid in self._keys)
        if is_fresh and not refresh:
            return
        async with self._loading:
            if self._loaded_at >= asked:
                return  # somebody else has read them since
            began = monotonic()
            rows = await self._rows.all()
            self._keys = {row["kid"]: self._key(row) for row in rows}
            self._loaded_at = began

    def _key(self, row: dict[str, Any]) -> Key:
        secret = hmac.digest(self._secret, b"verbatim access token\0" + bytes(row["secret"]), hashlib.sha256)
        return Key(row["_id"], row["kid"], secret, row["created_at"], row["expires_at"])
