"""What the database did: its own profiler's account of every operation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pymongo.asynchronous.database import AsyncDatabase

from app.database import Database

_SIZE = 32 * 1024 * 1024


class Profile:
    """The operations on some collections since the profile was opened, or last read."""

    def __init__(self, database: AsyncDatabase[dict[str, Any]]) -> None:
        self._database = database
        self._seen = 0

    async def read(self, *collections: str) -> list[dict[str, Any]]:
        """The operations on the collections, in their order."""
        entries = self._database["system.profile"].find({}, sort=[("$natural", 1)], skip=self._seen)
        fresh = await entries.to_list()
        self._seen += len(fresh)
        names = {f"{self._database.name}.{collection}" for collection in collections}
        return [entry for entry in fresh if entry["ns"] in names]


@asynccontextmanager
async def profiled(database: Database) -> AsyncIterator[Profile]:
    """Let the database note every operation until the block ends."""
    raw = database.client[database.name]
    await raw.command("profile", 0)
    await raw.drop_collection("system.profile")
    await raw.create_collection("system.profile", capped=True, size=_SIZE)
    await raw.command("profile", 2)
    try:
        yield Profile(raw)
    finally:
        await raw.command("profile", 0)
        await raw.drop_collection("system.profile")
