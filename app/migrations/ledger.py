"""What the database knows of its migrations: the collection `migrations`.

One row a migration, with the lease of whoever does it and how far it has come, and the row `schema`, which says from
which level on a version can work with the data. Whoever does a migration says so with every step, and is told to stop
when another one holds the lease by then.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pymongo
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import DuplicateKeyError

from app import __version__
from app.database import Database
from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.kit.leases import ENDED, expiry, is_free_for
from app.kit.repository import Row
from app.migrations.model import Migration, Step

_SCHEMA = "schema"


class LeaseLost(Exception):
    """Another process does this migration now."""


class Ledger:
    """The rows of one database. `lease_seconds`: how long whoever migrates may be silent."""

    def __init__(self, database: Database, *, lease_seconds: float) -> None:
        self._database = database
        self._expiry = expiry(lease_seconds)

    @property
    def _collection(self) -> AsyncCollection[Row]:
        return self._database.client[self._database.name]["migrations"]

    async def rows(self) -> Mapping[Any, Row]:
        """All rows by their id."""
        with pymongo.timeout(READ_SECONDS):
            return {row["_id"]: row for row in await self._collection.find({}, {"place": 0}).to_list()}

    async def skip(self, migration: Migration) -> None:
        """Note of one that nobody has begun that there is nothing to do: the database is new."""
        row = {"name": migration.name, "phase": migration.phase, "state": "done", "version": __version__}
        with suppress(DuplicateKeyError), pymongo.timeout(WRITE_SECONDS):  # another process may have just said so
            await self._collection.update_one({"_id": migration.number}, {"$setOnInsert": row}, upsert=True)

    async def acquire(self, migration: Migration, holder: str) -> bool:
        """Become, or stay, the one that does it; False while another one does."""
        row = {"name": migration.name, "phase": migration.phase, "state": "new"}
        with suppress(DuplicateKeyError), pymongo.timeout(WRITE_SECONDS):  # another process may have just made it
            await self._collection.update_one({"_id": migration.number}, {"$setOnInsert": row}, upsert=True)
        with pymongo.timeout(WRITE_SECONDS):
            result = await self._collection.update_one(
                {"_id": migration.number, "$expr": is_free_for(holder)},
                [{"$set": {"holder": holder, "expires_at": self._expiry}}],
            )
        return bool(result.matched_count)

    async def begin(self, migration: Migration, holder: str) -> Any:
        """Note that it is being done, and answer the place to go on from, None at the beginning; raises LeaseLost.

        What was done already begins anew.
        """
        goes_on = {"$in": ["$state", ["running", "failed"]]}
        kept = {name: {"$cond": [goes_on, f"${name}", None]} for name in ("place", "started_at")}
        noted = {
            **kept,
            "started_at": {"$ifNull": [kept["started_at"], "$$NOW"]},
            "state": "running",
            "version": __version__,
            "runs": {"$add": [{"$ifNull": ["$runs", 0]}, 1]},
        }
        with pymongo.timeout(WRITE_SECONDS):
            row = await self._collection.find_one_and_update(
                {"_id": migration.number, "holder": holder},
                [{"$set": noted}, {"$unset": ["error", "finished_at"]}],
                return_document=pymongo.ReturnDocument.AFTER,
            )
        if row is None:
            raise LeaseLost
        return row.get("place")

    async def note(self, migration: Migration, holder: str, step: Step) -> None:
        """How far it is, and that whoever does it lives; raises LeaseLost."""
        noted = {"done": step.done, "total": step.total, "what": step.what, "place": {"$literal": step.place}}
        await self._change(migration, holder, [{"$set": {**noted, "expires_at": self._expiry}}])

    async def renew(self, migration: Migration, holder: str) -> None:
        """Whoever does it lives; raises LeaseLost."""
        await self._change(migration, holder, [{"$set": {"expires_at": self._expiry}}])

    async def finish(self, migration: Migration, holder: str) -> None:
        """It is done; raises LeaseLost."""
        done = {"state": "done", "finished_at": "$$NOW", "version": __version__}
        await self._change(migration, holder, [{"$set": done}, {"$unset": ["place", "what", "done", "total"]}])

    async def fail(self, migration: Migration, holder: str, sentence: str) -> None:
        """It cannot be done before somebody has done something; raises LeaseLost."""
        await self._change(migration, holder, [{"$set": {"state": "failed", "error": {"$literal": sentence}}}])

    async def release(self, migration: Migration, holder: str) -> None:
        """Let another process do it."""
        with pymongo.timeout(WRITE_SECONDS):
            await self._collection.update_one({"_id": migration.number, "holder": holder}, ENDED)

    async def _change(self, migration: Migration, holder: str, change: Sequence[Mapping[str, Any]]) -> None:
        with pymongo.timeout(WRITE_SECONDS):
            result = await self._collection.update_one({"_id": migration.number, "holder": holder}, change)
        if not result.matched_count:
            raise LeaseLost

    # --- from which level on a version can work with the data ---

    async def contracted(self) -> tuple[int, str]:
        """The level below which a version must not touch the data, and the version that has said so; 0 at first."""
        with pymongo.timeout(READ_SECONDS):
            row = await self._collection.find_one({"_id": _SCHEMA})
        return (0, "") if row is None else (int(row["contract"]), str(row["version"]))

    async def contract(self, level: int) -> None:
        """From now on older versions must not touch the data."""
        with suppress(DuplicateKeyError), pymongo.timeout(WRITE_SECONDS):  # a newer version has said so already
            await self._collection.update_one(
                {"_id": _SCHEMA, "contract": {"$not": {"$gte": level}}},
                {"$set": {"contract": level, "version": __version__}},
                upsert=True,
            )
