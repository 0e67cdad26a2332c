"""Events of turns, and their stored log: `turn_events`, one row an event, majority-written before anybody sees it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import pymongo
from bson import MaxKey, MinKey, ObjectId
from pymongo import DeleteMany
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError

from app.kit.clock import now
from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.kit.repository import Row
from app.kit.transactions import current_session
from app.turns.model import TurnEvents, TurnState

EventName = Literal["turn.started", "delta", "turn.completed", "turn.failed", "turn.cancelled", "turn.interrupted"]

END_EVENTS: Mapping[str, EventName] = {
    "completed": "turn.completed",
    "failed": "turn.failed",
    "cancelled": "turn.cancelled",
    "interrupted": "turn.interrupted",
}
"""The last event of a turn, by the state it ended in."""

EVENTS_KEPT = timedelta(hours=25)
"""From when an event is written: a day after the end of any turn."""
PAGE = 1000
_DUPLICATE = 11000


@dataclass(frozen=True, slots=True)
class Event:
    """One event; numbers begin at 1 and have no gaps."""

    number: int
    name: EventName
    data: Any


def delta(number: int, text: str) -> Event:
    return Event(number, "delta", {"text": text})


class LogTaken(Exception):
    """The next number of the turn's log is taken: by a write of ours that seemed to fail, or by another process."""


class EventRepository:
    """The stored log of all turns."""

    def row(
        self, turn_id: ObjectId, seq: int, worker: str, *, text: str | None = None, end: TurnState | None = None
    ) -> Row:
        """An event to be appended."""
        return {
            "_id": {"turn_id": turn_id, "seq": seq},
            **({"text": text} if end is None else {"end": end}),
            "worker": worker,
            "expires_at": now() + EVENTS_KEPT,
        }

    async def append(self, rows: Sequence[Row]) -> set[int]:
        """Store the rows, done when a majority has them; answers which of them found their number taken.

        Inside a transaction that ends it instead, and LogTaken is raised.
        """
        session = current_session()
        try:
            with pymongo.timeout(WRITE_SECONDS):
                await self._collection.insert_many(rows, ordered=session is not None, session=session)
        except BulkWriteError as error:
            faults = (error.details or {}).get("writeErrors", [])
            if (error.details or {}).get("writeConcernErrors") or any(each["code"] != _DUPLICATE for each in faults):
                raise
            if session is not None:
                raise LogTaken from error
            return {each["index"] for each in faults}
        return set()

    async def read(self, turn_id: ObjectId, *, after: int = 0, limit: int = PAGE) -> list[Row]:
        """The stored events behind a number, in order."""
        condition = {"_id": {"$gt": {"turn_id": turn_id, "seq": after}, "$lte": {"turn_id": turn_id, "seq": MaxKey()}}}
        with pymongo.timeout(READ_SECONDS):
            cursor = self._collection.find(
                condition, {"text": 1, "end": 1, "worker": 1}, sort=[("_id", 1)], limit=limit, batch_size=limit + 1
            )
            return await cursor.to_list()

    async def text(self, turn_id: ObjectId) -> tuple[str, int]:
        """All text that is stored of a turn, and the number of the last event."""
        texts, last = [], 1
        while rows := await self.read(turn_id, after=last):
            texts += [row.get("text") or "" for row in rows]
            last = rows[-1]["_id"]["seq"]
        return "".join(texts), last

    async def delete(self, turn_ids: Sequence[ObjectId]) -> None:
        """Remove the logs of turns for good."""
        bounds = [
            {"$gte": {"turn_id": id, "seq": MinKey()}, "$lte": {"turn_id": id, "seq": MaxKey()}} for id in turn_ids
        ]
        if bounds:
            with pymongo.timeout(WRITE_SECONDS):
                await self._collection.bulk_write([DeleteMany({"_id": each}) for each in bounds], ordered=False)

    @property
    def _collection(self) -> AsyncCollection[Row]:
        return TurnEvents.get_pymongo_collection()
