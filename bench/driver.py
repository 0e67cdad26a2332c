"""The bare driver doing what the API does: the floor that each figure is compared with."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from app.database import Database
from app.kit.clock import now


@dataclass(frozen=True)
class Floor:
    """Operations a second, and microseconds of CPU of this process for each."""

    per_second: float
    cpu_microseconds: float


async def measure(operation: Callable[[int], Awaitable[Any]], *, count: int, clients: int) -> Floor:
    numbers = iter(range(count))

    async def client() -> None:
        for number in numbers:
            await operation(number)

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds, used = time.perf_counter() - wall, time.process_time() - cpu
    return Floor(count / seconds, used / count * 1e6)


class BareDriver:
    """The same queries with nothing around them."""

    def __init__(self, database: Database, conversations: list[ObjectId]) -> None:
        self._client = database.client
        self._database = database.client[database.name]
        self._conversations = conversations

    async def get_one(self, number: int) -> None:
        await self._database.conversations.find_one({"_id": self._pick(number)})

    async def list_100(self, number: int) -> None:
        cursor = self._database.messages.find(
            {"conversation_id": self._pick(number)}, sort=[("seq", 1)], limit=100, batch_size=101
        )
        await cursor.to_list()

    async def append(self, number: int) -> None:
        """Number and message in one transaction, as any correct append has to be."""
        id = self._pick(number)

        async def work(session: AsyncClientSession) -> None:
            row = await self._database.conversations.find_one_and_update(
                {"_id": id},
                {"$inc": {"last_seq": 1, "message_count": 1}, "$set": {"updated_at": now()}},
                return_document=ReturnDocument.AFTER,
                session=session,
            )
            seq = None if row is None else row["last_seq"]
            message = {"conversation_id": id, "seq": seq, "role": "user", "content": "x" * 250}
            await self._database.messages.insert_one(message, session=session)

        async with self._client.start_session() as session:
            await session.with_transaction(work)

    async def read_all(self) -> int:
        """Every message, in batches of 1000, decoded and dropped."""
        rows = 0
        async for _ in self._database.messages.find({}, sort=[("created_at", 1), ("_id", 1)], batch_size=1000):
            rows += 1
        return rows

    def _pick(self, number: int) -> ObjectId:
        return self._conversations[number * 7919 % len(self._conversations)]
