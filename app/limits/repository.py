"""Queries of counts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pymongo
from pymongo import UpdateOne
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.limits.model import RateCount, Spending

BATCH = 1000


class RateRepository:
    """Written and read without waiting for a majority: a count that a failover loses lets some requests more in."""

    async def add(self, counts: Mapping[str, int], expires_at: datetime) -> None:
        writes = [
            UpdateOne(
                {"_id": id}, {"$inc": {"requests": count}, "$setOnInsert": {"expires_at": expires_at}}, upsert=True
            )
            for id, count in counts.items()
        ]
        with pymongo.timeout(WRITE_SECONDS):
            await self._collection.bulk_write(writes, ordered=False)

    async def read(self, ids: Sequence[str]) -> dict[str, int]:
        with pymongo.timeout(READ_SECONDS):
            rows = await self._collection.find({"_id": {"$in": list(ids)}}, {"requests": 1}).to_list()
        return {row["_id"]: row["requests"] for row in rows}

    @property
    def _collection(self) -> Any:
        return RateCount.get_pymongo_collection().with_options(
            write_concern=WriteConcern(w=1), read_concern=ReadConcern("local")
        )


class SpendingRepository:
    async def add(self, spent: Sequence[tuple[str, Mapping[str, float], datetime]]) -> None:
        """Add to the counts of these ids, each until an instant."""
        writes = [
            UpdateOne({"_id": id}, {"$inc": dict(amounts), "$setOnInsert": {"expires_at": until}}, upsert=True)
            for id, amounts, until in spent
        ]
        with pymongo.timeout(WRITE_SECONDS):
            await self._collection.bulk_write(writes, ordered=False)

    async def read(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        with pymongo.timeout(READ_SECONDS):
            rows = await self._collection.find({"_id": {"$in": list(ids)}}).to_list()
        return {row["_id"]: row for row in rows}

    @property
    def _collection(self) -> Any:
        return Spending.get_pymongo_collection()
