"""A collection in batches, in the order of its ids, so that a killed process is followed where it was."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

import pymongo
from bson import MinKey
from pymongo.asynchronous.collection import AsyncCollection

from app.kit.deadlines import EXPORT_PAGE_SECONDS
from app.kit.repository import Row
from app.migrations.model import Step

BATCH = 2000


async def update_in_batches(
    collection: AsyncCollection[Row], lacks: Mapping[str, Any], change: Any, place: Any
) -> AsyncGenerator[Step, None]:
    """Update the rows that still need it (`lacks`), batch by batch behind `place`; the same again changes nothing.

    Rows that others store meanwhile may come before the place: they are of those that know better, or are found when
    it is done again.
    """

    async def update(batch: Mapping[str, Any]) -> None:
        with pymongo.timeout(EXPORT_PAGE_SECONDS):
            await collection.update_many({**batch, **lacks}, change)

    async with aclosing(in_batches(collection, update, place)) as steps:
        async for step in steps:
            yield step


async def in_batches(
    collection: AsyncCollection[Row], deal_with: Callable[[Mapping[str, Any]], Awaitable[None]], place: Any
) -> AsyncGenerator[Step, None]:
    """Deal with all rows, batch by batch behind `place`; each batch is a condition of its rows."""
    done = 0 if place is None else int(place["done"])
    last = MinKey() if place is None else place["last"]
    with pymongo.timeout(EXPORT_PAGE_SECONDS):
        total = await collection.estimated_document_count()
    yield Step(done, max(done, total), place, collection.name)
    while ids := await _ids(collection, last):
        await deal_with({"_id": {"$gt": last, "$lte": ids[-1]}})
        last, done = ids[-1], done + len(ids)
        yield Step(done, max(done, total), {"last": last, "done": done}, collection.name)


async def _ids(collection: AsyncCollection[Row], last: Any) -> list[Any]:
    with pymongo.timeout(EXPORT_PAGE_SECONDS):
        rows = await collection.find({"_id": {"$gt": last}}, {"_id": 1}, sort=[("_id", 1)], limit=BATCH).to_list()
    return [row["_id"] for row in rows]
