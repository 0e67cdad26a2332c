"""How often passwords may be tried: for each account and from each address, counted in the database for all processes.

An attempt is counted before it is looked at, whoever it is for, so that neither many at once nor unknown names get
around it; one that succeeds is taken back. The counters leak: after `window` seconds without attempts all are allowed
again, and while somebody goes on, one for each `window / limit` seconds. The database's clock counts.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import pymongo
from beanie import Document
from pydantic import Field
from pymongo import IndexModel, ReturnDocument

from app.kit.deadlines import WRITE_SECONDS
from app.kit.errors import TooManyLogins
from app.kit.logs import logger
from app.kit.neighbourhoods import neighbourhood
from app.kit.security import hash_key


class LoginAttempts(Document):
    """The attempts for one account or from one address: when all of them will have leaked away."""

    id: str = Field(alias="_id")  # type: ignore[assignment]
    free_at: datetime
    wait_ms: float

    class Settings:
        name = "login_attempts"
        indexes: ClassVar = [IndexModel("free_at", name="expiry_v1", expireAfterSeconds=0)]


@dataclass(frozen=True)
class LoginLimits:
    """Attempts for one account, and from one address, in `window` seconds."""

    account: int
    address: int
    window: float


class LoginAttemptRepository:
    """Queries of attempts."""

    async def take(self, id: str, limit: int, window: float) -> float:
        """Count one attempt; answers 0, or the seconds to wait when there were too many, and does not count it then."""
        window_ms = window * 1000
        following = {"$add": [{"$max": ["$free_at", "$$NOW"]}, window_ms / limit]}
        excess = {"$subtract": [{"$subtract": ["$following", "$$NOW"]}, window_ms]}
        steps = [
            {"$set": {"following": following}},
            {"$set": {"wait_ms": {"$max": [0, excess]}}},
            {"$set": {"free_at": {"$cond": [{"$gt": ["$wait_ms", 0]}, "$free_at", "$following"]}}},
            {"$unset": "following"},
        ]
        with pymongo.timeout(WRITE_SECONDS):
            row = await self._collection.find_one_and_update(
                {"_id": id}, steps, upsert=True, return_document=ReturnDocument.AFTER
            )
        return float(row["wait_ms"]) / 1000

    async def give_back(self, id: str, limit: int, window: float) -> None:
        """Uncount one attempt."""
        earlier = {"$subtract": ["$free_at", window * 1000 / limit]}
        with pymongo.timeout(WRITE_SECONDS):
            await self._collection.update_one({"_id": id}, [{"$set": {"free_at": earlier}}])

    @property
    def _collection(self) -> Any:
        return LoginAttempts.get_pymongo_collection()


class LoginThrottle:
    def __init__(self, rows: LoginAttemptRepository, limits: LoginLimits) -> None:
        self._rows = rows
        self._limits = limits

    async def admit(self, email: str, address: str) -> None:
        """Count an attempt for the account that the e-mail would be of. Raises TooManyLogins."""
        for kind, id, limit in self._counters(email, address):
            wait = await self._rows.take(id, limit, self._limits.window)
            if wait:
                logger.warning("login_throttled", by=kind, address=address)
                raise TooManyLogins(retry_after=math.ceil(wait))

    async def succeeded(self, email: str, address: str) -> None:
        """The admitted attempt was right."""
        for _, id, limit in self._counters(email, address):
            await self._rows.give_back(id, limit, self._limits.window)

    def _counters(self, email: str, address: str) -> tuple[tuple[str, str, int], ...]:
        account = f"account:{hash_key(email)}"  # people type passwords where an e-mail is asked for
        return (
            ("address", f"address:{neighbourhood(address)}", self._limits.address),
            ("account", account, self._limits.account),
        )
