"""Which processes live: each renews a lease in the database, and what a process leaves behind is found by its silence.

Leases are compared with the database's clock, never with ours. A process that was declared dead never comes back under
its name: it takes a new one, and what it ran is not its own any more.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Collection
from typing import Any

import pymongo
from pymongo import ReturnDocument

from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.kit.leases import expiry
from app.kit.logs import logger
from app.turns.model import Worker

RENEWALS_PER_LEASE = 4


class WorkerRepository:
    """Queries of workers."""

    def __init__(self, *, lease_seconds: float, level: int = 0) -> None:
        """`lease_seconds`: how long a process is believed to live after it was last heard of; `level`: what its version
        knows of the data."""
        self.lease_seconds = lease_seconds
        self._expiry = expiry(lease_seconds)
        self._level = level

    async def register(self, id: str) -> None:
        with pymongo.timeout(WRITE_SECONDS):
            await self._collection.update_one(
                {"_id": id},
                [{"$set": {"expires_at": self._expiry, "is_dead": False, "level": self._level}}],
                upsert=True,
            )

    async def renew(self, id: str) -> bool:
        """Say that the worker lives; False when it was declared dead."""
        with pymongo.timeout(WRITE_SECONDS):
            result = await self._collection.update_one(
                {"_id": id, "is_dead": False}, [{"$set": {"expires_at": self._expiry}}]
            )
        return bool(result.matched_count)

    async def silent(self) -> list[dict[str, Any]]:
        """Workers whose lease is over, the dead ones of the last day among them."""
        with pymongo.timeout(READ_SECONDS):
            return list(await self._collection.find({"$expr": {"$lt": ["$expires_at", "$$NOW"]}}).to_list())

    async def living(self, ids: Collection[str]) -> set[str]:
        """Those of the workers that nobody has declared dead, and that have not left."""
        with pymongo.timeout(READ_SECONDS):
            rows = await self._collection.find({"_id": {"$in": list(ids)}, "is_dead": False}, {"_id": 1}).to_list()
        return {row["_id"] for row in rows}

    async def count_older(self, level: int) -> int:
        """How many workers live that know less of the data."""
        lives = {"is_dead": False, "$expr": {"$gt": ["$expires_at", "$$NOW"]}}
        with pymongo.timeout(READ_SECONDS):
            return int(
                await self._collection.count_documents({**lives, "$or": [{"level": None}, {"level": {"$lt": level}}]})
            )

    async def declare_dead(self, worker: dict[str, Any]) -> bool:
        """False when the worker was heard of since it was read."""
        with pymongo.timeout(WRITE_SECONDS):
            found = await self._collection.find_one_and_update(
                {"_id": worker["_id"], "expires_at": worker["expires_at"]},
                {"$set": {"is_dead": True}},
                return_document=ReturnDocument.AFTER,
            )
        return found is not None

    async def remove(self, id: str) -> None:
        with pymongo.timeout(WRITE_SECONDS):
            await self._collection.delete_one({"_id": id})

    async def give_up(self, id: str) -> None:
        """Declare the worker dead that asks for it."""
        with pymongo.timeout(WRITE_SECONDS):
            await self._collection.update_one({"_id": id}, [{"$set": {"is_dead": True, "expires_at": "$$NOW"}}])

    @property
    def _collection(self) -> Any:
        return Worker.get_pymongo_collection()


class Membership:
    """This process among the workers."""

    def __init__(self, rows: WorkerRepository) -> None:
        self.id = secrets.token_hex(8)
        self._rows = rows
        self._valid_until = 0.0
        self._is_registered = False
        self._lock = asyncio.Lock()
        self._actions: list[Callable[[str], None]] = []
        self._seen: dict[str, tuple[Any, float]] = {}

    def when_lost(self, action: Callable[[str], None]) -> None:
        """Call `action` with the name under which this process was declared dead."""
        self._actions.append(action)

    async def assure(self) -> str:
        """The name under which something may begin now."""
        if time.monotonic() >= self._valid_until:
            await self.renew()
        return self.id

    async def renew(self) -> None:
        """Say that this process lives, under a new name when it was declared dead."""
        async with self._lock:
            asked_at = time.monotonic()
            if self._is_registered and not await self._rows.renew(self.id):
                logger.error("worker_declared_dead", worker=self.id)
                self._is_registered = False
                lost, self.id = self.id, secrets.token_hex(8)
                for action in self._actions:
                    action(lost)
            if not self._is_registered:
                await self._rows.register(self.id)
                self._is_registered = True
            self._valid_until = asked_at + self._rows.lease_seconds

    async def find_dead(self) -> list[str]:
        """Workers that are dead.

        A silent one is declared so when it has stayed silent while we could see it: a database that was away for
        longer than a lease has silenced everybody, and they need a moment to be heard again.
        """
        silent = {each["_id"]: each for each in await self._rows.silent()}
        self._seen = {id: seen for id, seen in self._seen.items() if id in silent}
        dead = []
        for id, worker in silent.items():
            if id == self.id:
                continue
            if worker["is_dead"] or (self._stays_silent(worker) and await self._rows.declare_dead(worker)):
                dead.append(id)
        return dead

    async def living(self, ids: Collection[str]) -> set[str]:
        """Those of the other workers that live, as far as anybody knows."""
        return await self._rows.living(ids) if ids else set()

    def _stays_silent(self, worker: dict[str, Any]) -> bool:
        heard, since = self._seen.get(worker["_id"], (None, 0.0))
        if heard != worker["expires_at"]:
            self._seen[worker["_id"]] = (worker["expires_at"], time.monotonic())
            return False
        return time.monotonic() - since >= self._rows.lease_seconds / RENEWALS_PER_LEASE

    async def leave(self, *, is_clean: bool) -> None:
        """This process ends; unless that is clean, another one ends what ran here."""
        if self._is_registered:
            await (self._rows.remove if is_clean else self._rows.give_up)(self.id)
