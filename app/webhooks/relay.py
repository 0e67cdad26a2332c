"""From the database's log to deliveries: one process at a time reads the log for all of them.

Nothing is lost: the place in the log is stored behind the deliveries of what lies before it, so whoever goes on, after
a crash too, reads some of it twice rather than not at all, and what is read twice has the same ids. Nothing is
invented: the log shows only what a majority of the members has. While no webhook is active nobody reads, and the place
is merely kept fresh.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

import pymongo
from pymongo.asynchronous.change_stream import AsyncChangeStream
from pymongo.errors import OperationFailure, PyMongoError

from app.kit.cancellation import raise_if_cancelled
from app.kit.clock import now
from app.kit.logs import logger
from app.kit.repository import Row
from app.webhooks.events import EventReader
from app.webhooks.repository import DeliveryRepository, RelayRepository
from app.webhooks.subscriptions import Subscribers, Subscriptions

BATCH = 100
"""Changes that are told together: their messages, of up to a mebibyte each, are in memory at the same time."""
_GATHER_SECONDS = 0.005
"""Changes that come within this are told together."""
_PAUSE_SECONDS = 1.0
_REST_SECONDS = 10.0
"""How old the place may become while no webhook is active."""
_GOODBYE_SECONDS = 2.0
_MOVE_SECONDS = 0.25
"""How often the place is stored, and with it the lease renewed; what was told since is read again after a crash."""
_PLACE_IS_LOST = frozenset({260, 280, 286})
"""InvalidResumeToken, ChangeStreamFatalError, ChangeStreamHistoryLost: the log does not reach back to the place."""


class LeaseLost(Exception):
    """Another process reads the log by now."""


class Relay:
    """`when_told` is called when there are new deliveries."""

    def __init__(
        self,
        state: RelayRepository,
        deliveries: DeliveryRepository,
        subscriptions: Subscriptions,
        make_reader: Callable[[Collection[str]], EventReader],
        when_told: Callable[[], None],
    ) -> None:
        self._state = state
        self._deliveries = deliveries
        self._subscriptions = subscriptions
        self._make_reader = make_reader
        self._when_told = when_told
        self._name = secrets.token_hex(8)
        self._is_holder = False
        self._rests_until = 0.0
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Take part, in a task of its own."""
        self._task = asyncio.create_task(self._run(), name="webhook-relay")

    def wake(self) -> None:
        """A webhook has become active."""
        self._wanted.set()

    async def aclose(self) -> None:
        """Stop reading, and let another process do it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None
        if self._is_holder:
            try:
                with pymongo.timeout(_GOODBYE_SECONDS):
                    await self._state.release(self._name)
            except PyMongoError as error:
                logger.warning("webhook_relay_not_released", error=type(error).__name__)  # its lease ends by itself

    async def _run(self) -> None:
        while True:
            raise_if_cancelled()
            self._wanted.clear()
            try:
                await self._take_part()
            except LeaseLost:
                logger.warning("webhook_relay_lease_lost")
            except PyMongoError as error:
                logger.warning("webhook_relay_interrupted", error=type(error).__name__)
            except Exception:  # noqa: BLE001 the place was not moved, so that nothing is lost: it is read again
                logger.exception("webhook_relay_interrupted")
            with suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE_SECONDS * random.uniform(0.8, 1.2)):  # noqa: S311 spreads them
                    await self._wanted.wait()

    async def _take_part(self) -> None:
        """Read the log if nobody else does, until no webhook is active."""
        if time.monotonic() < self._rests_until and not (await self._subscriptions.current()).types:
            return
        while (place := await self._state.acquire(self._name)) is not None:
            self._is_holder = True
            position = await self._state.log_position()
            subscribers = await self._subscriptions.current()  # asked after the position: who comes lies behind it
            if not subscribers.types:
                await self._move(None, position)
                self._rests_until = time.monotonic() + _REST_SECONDS
                return
            try:
                await self._follow(place, self._make_reader(subscribers.types))
            except OperationFailure as error:
                if error.code not in _PLACE_IS_LOST:
                    raise
                logger.error("webhook_events_missed", since=place.get("told_at"), code=error.code)
                gap = subscribers.notices("webhook.gap", {"since": place.get("told_at"), "until": now()})
                await self._deliveries.insert_new(gap)
                await self._move(None, position)
                self._when_told()
        self._is_holder = False

    async def _follow(self, place: Row, reader: EventReader) -> None:
        """Tell what comes, until other types of events are wanted: the log is read again then from the last place."""
        moved_at = time.monotonic()
        async with await self._state.follow(reader.pipeline, place, batch=BATCH) as stream, _Batches(stream) as batches:
            while stream.alive:
                raise_if_cancelled()
                changes = await batches.next()
                token = changes[-1]["_id"] if changes else stream.resume_token
                subscribers = await self._subscriptions.current()  # after the changes: who comes later is not meant
                if subscribers.types != reader.types:
                    return
                if changes:
                    await self._tell(reader, changes, subscribers)
                if time.monotonic() - moved_at >= _MOVE_SECONDS:
                    await self._move(token, None)
                    moved_at = time.monotonic()

    async def _tell(self, reader: EventReader, changes: Sequence[Row], subscribers: Subscribers) -> None:
        deliveries = subscribers.deliveries(await reader.read(changes, subscribers.want))
        await self._deliveries.insert_new(deliveries)
        if deliveries:
            self._when_told()

    async def _move(self, token: Any, start: int | None) -> None:
        if not await self._state.move(self._name, token=token, start=start, told_at=now()):
            self._is_holder = False
            raise LeaseLost


class _Batches:
    """The changes of a stream in batches: those that are there, and those that come in the same moment."""

    def __init__(self, stream: AsyncChangeStream[Row]) -> None:
        self._stream = stream
        self._pending: asyncio.Task[Row | None] | None = None

    async def next(self) -> list[Row]:
        """The next changes; none when none has come for a second."""
        changes: list[Row] = []
        while len(changes) < BATCH:
            self._pending = self._pending or asyncio.create_task(self._take())
            done, _ = await asyncio.wait({self._pending}, timeout=_GATHER_SECONDS if changes else None)
            if not done:
                break
            change, self._pending = self._pending.result(), None
            if change is None:
                break
            changes.append(change)
        return changes

    async def _take(self) -> Row | None:
        return await self._stream.try_next()

    async def __aenter__(self) -> "_Batches":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pending is not None:
            self._pending.cancel()
            await asyncio.wait({self._pending})
            if not self._pending.cancelled():
                self._pending.exception()  # it was asked for; whoever goes on meets the fault again
