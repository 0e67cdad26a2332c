"""What other processes write, as it happens: one change stream a process, whoever in it wants to know.

Nothing is lost: the stream goes on from its token when it breaks, and where it cannot (the first time, or when the
database's log no longer reaches back) every watcher is told to read again what it follows.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymongo.asynchronous.change_stream import AsyncDatabaseChangeStream
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure, PyMongoError

from app.kit import metrics
from app.kit.clock import now
from app.kit.logs import logger
from app.kit.repository import Row

WAIT_MILLISECONDS = 1000
"""How long the database holds an empty answer back; what happens meanwhile comes at once."""
PAUSE_SECONDS = 0.5
_TOKEN_IS_USELESS = frozenset({280, 286})
"""ChangeStreamFatalError and ChangeStreamHistoryLost: what happened since is not known any more."""


@dataclass(frozen=True)
class Change:
    """One write: which document, and of an inserted one the fields that its watch asked for."""

    operation: str
    key: Any
    document: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Watch:
    """Which writes of a collection are wanted, and who is told.

    `condition` is a Mongo filter over change events (`operationType`, `fullDocument.x`); it runs in the database, so
    that what nobody wants is never sent. `handle` must not block; `resync` is called when changes may have been missed.
    """

    collection: str
    condition: Mapping[str, Any]
    fields: Sequence[str]
    handle: Callable[[Change], None]
    resync: Callable[[], None]


class ChangeFeed:
    """The process's change stream over one database."""

    def __init__(self, database: AsyncDatabase[Row]) -> None:
        self._database = database
        self._watches: dict[str, Watch] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_open = asyncio.Event()
        self._is_closing = False

    def watch(self, watch: Watch) -> None:
        """Add a watch of a collection that has none, before the feed is opened."""
        if watch.collection in self._watches:
            raise ValueError(f"{watch.collection} is watched already")
        self._watches[watch.collection] = watch

    def open(self) -> None:
        """Begin to follow, in a task of its own."""
        self._task = asyncio.create_task(self._run(), name="change-feed")

    async def opened(self) -> None:
        """Return when changes are being followed."""
        await self._is_open.wait()

    async def aclose(self) -> None:
        self._is_closing = True
        if self._task is None:
            return
        self._task.cancel()
        # The driver may swallow one cancellation; the flag then ends the loop within its wait.
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        token: Mapping[str, Any] | None = None
        while not self._is_closing:
            token = await self._follow(token)

    async def _follow(self, token: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Hand changes out until the stream breaks; answers the token to go on from, None when there is none."""
        try:
            async with await self._watch(token) as stream:
                if token is None:
                    self._resync()
                self._is_open.set()
                while stream.alive and not self._is_closing:
                    change = await stream.try_next()
                    token = stream.resume_token or token
                    if change is None:  # and nothing newer is there
                        metrics.change_lag.set(0)
                    else:
                        self._hand_out(change)
        except PyMongoError as error:
            code = error.code if isinstance(error, OperationFailure) else None
            logger.warning("changes_interrupted", error=type(error).__name__, code=code)
            await asyncio.sleep(PAUSE_SECONDS)
            return None if code in _TOKEN_IS_USELESS else token
        return token

    async def _watch(self, token: Mapping[str, Any] | None) -> AsyncDatabaseChangeStream[Row]:
        return await self._database.watch(
            self._pipeline(), resume_after=token, max_await_time_ms=WAIT_MILLISECONDS, batch_size=1000
        )

    def _pipeline(self) -> list[dict[str, Any]]:
        wanted = [{"ns.coll": each.collection, **each.condition} for each in self._watches.values()]
        fields = {f"fullDocument.{name}": 1 for each in self._watches.values() for name in each.fields}
        return [
            {"$match": {"$or": wanted}},
            {"$project": {"operationType": 1, "ns.coll": 1, "documentKey": 1, "wallTime": 1, **fields}},
        ]

    def _hand_out(self, change: Row) -> None:
        watch = self._watches[change["ns"]["coll"]]
        document = change.get("fullDocument") or {}
        if (written_at := change.get("wallTime")) is not None:
            metrics.change_lag.set(max(0.0, (now() - written_at).total_seconds()))
        self._guard(
            watch, lambda: watch.handle(Change(change["operationType"], change["documentKey"]["_id"], document))
        )

    def _resync(self) -> None:
        for watch in self._watches.values():
            self._guard(watch, watch.resync)

    def _guard(self, watch: Watch, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:  # noqa: BLE001 one watcher's fault must not keep the changes from the others
            logger.exception("change_not_handled", collection=watch.collection)
