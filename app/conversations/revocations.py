"""Who follows what is shared with them in this process, told at once when it is not any more, wherever that is said."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pymongo
from bson import ObjectId
from pymongo.errors import PyMongoError

from app.conversations.share_model import Revocation
from app.kit.changes import Change, ChangeFeed, Watch
from app.kit.clock import now
from app.kit.deadlines import READ_SECONDS
from app.kit.logs import logger

_CLOCKS_DIFFER = timedelta(minutes=1)
_PAUSE_SECONDS = 0.5

Told = Callable[[ObjectId], None]


class Revocations:
    def __init__(self, feed: ChangeFeed) -> None:
        self._listeners: dict[ObjectId, dict[object, Told]] = {}
        self._heard_at = now()
        self._reading: asyncio.Task[None] | None = None
        condition = {"operationType": "insert"}
        feed.watch(Watch("revocations", condition, ("conversation_id", "user_id"), self._on_change, self._resync))

    @contextmanager
    def telling(self, user_id: ObjectId, told: Told) -> Iterator[None]:
        """While the block runs call `told` with each conversation that is shared with the user no more."""
        key = object()
        self._listeners.setdefault(user_id, {})[key] = told
        try:
            yield
        finally:
            del self._listeners[user_id][key]
            if not self._listeners[user_id]:
                del self._listeners[user_id]

    async def aclose(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})

    def _on_change(self, change: Change) -> None:
        self._heard_at = now()
        self._tell(change.document["user_id"], change.document["conversation_id"])

    def _tell(self, user_id: ObjectId, conversation_id: ObjectId) -> None:
        for told in list(self._listeners.get(user_id, {}).values()):
            told(conversation_id)

    def _resync(self) -> None:
        if self._listeners and self._reading is None:
            self._reading = asyncio.create_task(self._catch_up(self._heard_at - _CLOCKS_DIFFER))

    async def _catch_up(self, since: datetime) -> None:
        """Tell what may have been missed; who was told before is told again."""
        try:
            while True:
                try:
                    with pymongo.timeout(READ_SECONDS):
                        rows = await Revocation.get_pymongo_collection().find({"at": {"$gte": since}}).to_list()
                    break
                except PyMongoError as error:
                    logger.warning("revocations_not_read", error=type(error).__name__)
                    await asyncio.sleep(_PAUSE_SECONDS)
            for row in rows:
                self._tell(row["user_id"], row["conversation_id"])
        finally:
            self._reading = None
