"""Following a turn from any process and from any event: what is stored already, then what comes, without gap or double.

A turn of this process is read from its log here. One of another process gets a log here too, as long as somebody
follows it, filled by the process's change feed. A turn that is over is told from the stored log.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from bson import ObjectId
from pymongo.errors import PyMongoError

from app.kit.changes import Change, ChangeFeed, Watch
from app.kit.errors import NotFound
from app.kit.logs import logger
from app.kit.repository import Row
from app.turns.events import END_EVENTS, PAGE, Event, EventRepository, delta
from app.turns.finisher import TurnFinisher
from app.turns.log import LogFollower, TurnLog, events_of
from app.turns.model import TERMINAL_STATES

ONLY_THE_END = 2**31
"""A number behind every event but the last one, which is told to everybody."""
_PAUSE_SECONDS = 0.1


class TurnEvents(Protocol):
    """The events of one turn for one reader, the last of which is always the turn's end."""

    async def next(self, seconds: float | None) -> Sequence[Event] | None:
        """The next events, waited for at most so long: nothing when there were none, None behind the last one."""
        ...

    def wake(self) -> None:
        """End the present wait."""
        ...

    async def aclose(self) -> None: ...


async def outcome_of(events: TurnEvents) -> dict[str, Any]:
    """The turn when it is over; closes the events."""
    last: Sequence[Event] = ()
    async with aclosing(events):
        while (batch := await events.next(None)) is not None:
            last = batch or last
    turn: dict[str, Any] = last[-1].data
    return turn


class TurnStreams:
    def __init__(
        self,
        events: EventRepository,
        finisher: TurnFinisher,
        own: Callable[[ObjectId], TurnLog | None],
        feed: ChangeFeed,
        worker: str,
    ) -> None:
        """`own`: the log of a turn that runs in this process; `worker`: whose events the feed need not bring."""
        self._events = events
        self._finisher = finisher
        self._own = own
        self._remote: dict[ObjectId, _RemoteLog] = {}
        condition = {"operationType": "insert", "fullDocument.worker": {"$ne": worker}}
        feed.watch(Watch("turn_events", condition, ("text", "end"), self._on_event, self._resync))

    async def open(self, turn_id: ObjectId, *, after: int = 0) -> TurnEvents:
        """The events behind a number. Raises NotFound when the turn was purged."""
        if (log := self._own(turn_id)) is not None:
            return log.follow(after)
        if (remote := self._remote.get(turn_id)) is None:
            turn = await self._finisher.wire(turn_id)  # after the look for its log: what has none any more is over
            if turn["state"] in TERMINAL_STATES:
                return _Replay(self._events, turn, after)
            # It may have begun here meanwhile, and the feed does not bring what this process writes.
            if (log := self._own(turn_id)) is not None:
                return log.follow(after)
            remote = self._remote.setdefault(turn_id, _RemoteLog(turn, self._events, self._finisher))
        follower = remote.follow(after, self._forget)
        try:
            await remote.load()
        except BaseException:
            await follower.aclose()
            raise
        return follower

    def now_here(self, turn_id: ObjectId, log: TurnLog) -> None:
        """A turn that waited begins to run in this process: who follows it already is told from its own log."""
        if (remote := self._remote.get(turn_id)) is not None:
            remote.copy(log)

    def _forget(self, turn_id: ObjectId) -> None:
        self._remote.pop(turn_id, None)

    def _on_event(self, change: Change) -> None:
        if (remote := self._remote.get(change.key["turn_id"])) is not None:
            remote.take({"_id": change.key, **change.document})

    def _resync(self) -> None:
        for remote in self._remote.values():
            remote.poke()


class _RemoteLog:
    """The log of a turn of another process, with those who follow it here."""

    def __init__(self, turn: dict[str, Any], events: EventRepository, finisher: TurnFinisher) -> None:
        self.log = TurnLog(turn)
        self._events = events
        self._finisher = finisher
        self._count = 0
        self._reading = asyncio.Lock()
        self._is_stale = False
        self._is_loaded = False
        self._announced = 0
        self._task: asyncio.Task[None] | None = None
        self._copying: asyncio.Task[None] | None = None

    def follow(self, after: int, forget: Callable[[ObjectId], None]) -> "_RemoteFollower":
        self._count += 1
        return _RemoteFollower(self.log.follow(after), lambda: self._leave(forget))

    def _leave(self, forget: Callable[[ObjectId], None]) -> None:
        self._count -= 1
        if not self._count:
            forget(self.log.started["id"])

    def take(self, row: Row) -> None:
        """Publish a row that has just been stored, if it is the next one; otherwise read what is missing."""
        number = row["_id"]["seq"]
        self._announced = max(self._announced, number)
        is_next = number == self.log.last + 1 and not self._reading.locked()
        if is_next and row.get("text") is not None and not self.log.is_over:
            self.log.publish(delta(number, row["text"]))
        elif number > self.log.last:
            self.poke()

    def copy(self, own: TurnLog) -> None:
        """Publish what is published in the turn's own log."""
        self._copying = asyncio.create_task(self._copy(own))

    async def _copy(self, own: TurnLog) -> None:
        async for event in events_of(own.follow(self.log.last)):
            if event.number == self.log.last + 1:  # the feed may have brought it
                self.log.publish(event)

    def poke(self) -> None:
        """Read what is missing in a task of its own."""
        self._is_stale = True
        if self._task is None:
            self._task = asyncio.create_task(self._keep_up())

    async def _keep_up(self) -> None:
        try:
            while self._is_behind and self._count:
                try:
                    await self.catch_up()
                    await self._end_if_purged()
                except PyMongoError as error:
                    logger.warning("turn_not_followed", error=type(error).__name__)
                if self._is_behind:  # right after a restart a read may show less than the feed has told of
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            self._task = None

    @property
    def _is_behind(self) -> bool:
        return not self.log.is_over and (self._is_stale or self.log.last < self._announced)

    async def load(self) -> None:
        """Publish what is stored by now, the first time; from then on the changes come by themselves."""
        if not self._is_loaded:
            await self.catch_up()

    async def catch_up(self) -> None:
        """Publish what is stored by now."""
        async with self._reading:
            self._is_stale = True
            while self._is_stale and not self.log.is_over:
                rows = await self._events.read(self.log.started["id"], after=self.log.last)
                self._is_stale = len(rows) == PAGE
                for row in rows:
                    self.log.publish(await self._event(row))
            self._is_stale = False
            self._is_loaded = True

    async def _event(self, row: Row) -> Event:
        if row.get("end") is None:
            return delta(row["_id"]["seq"], row["text"])
        turn = await self._turn()
        return Event(row["_id"]["seq"], END_EVENTS[turn["state"]], turn)

    async def _end_if_purged(self) -> None:
        """A purge takes the log along, and with it the end that we were about to read."""
        if self.log.is_over:
            return
        turn = await self._turn()
        if turn["state"] in TERMINAL_STATES:
            await self.catch_up()  # the end is stored together with the state
            if not self.log.is_over:
                self.log.publish(Event(self.log.last + 1, END_EVENTS[turn["state"]], turn))

    async def _turn(self) -> dict[str, Any]:
        """The turn as it is stored, or as it was cancelled when it was purged."""
        turn = self.log.started
        try:
            return await self._finisher.wire(turn["id"])
        except NotFound:
            cancelled = {"content": self.log.text, "status": "cancelled"}
            answer = turn["assistant_message"] and {**turn["assistant_message"], **cancelled}
            return {**turn, "state": "cancelled", "assistant_message": answer}


class _RemoteFollower:
    """A follower that the remote log counts."""

    def __init__(self, follower: LogFollower, leave: Callable[[], None]) -> None:
        self.next = follower.next
        self.wake = follower.wake
        self._follower = follower
        self._leave: Callable[[], None] | None = leave

    async def aclose(self) -> None:
        await self._follower.aclose()
        if self._leave is not None:
            self._leave()
            self._leave = None


class _Replay:
    """A turn that is over, from its stored log; or, when that has expired, from the answer."""

    def __init__(self, events: EventRepository, turn: dict[str, Any], after: int) -> None:
        self._events = events
        self._turn = turn
        self._last = turn["last_event"]
        self._seen = min(after, self._last - 1) if self._last else 0
        self._has_end = False

    async def next(self, seconds: float | None) -> Sequence[Event] | None:  # noqa: ARG002 nothing is waited for
        if self._has_end:
            return None
        first = [Event(1, "turn.started", self._turn)] if self._seen < 1 else []
        rows = await self._events.read(self._turn["id"], after=max(self._seen, 1))
        if not rows:
            self._has_end = True
            return [*first, *self._without_log()]
        self._seen = rows[-1]["_id"]["seq"]
        self._has_end = rows[-1].get("end") is not None
        return [*first, *(self._event(row) for row in rows)]

    def _event(self, row: Row) -> Event:
        number = row["_id"]["seq"]
        return delta(number, row["text"]) if row.get("end") is None else self._end(number)

    def _without_log(self) -> list[Event]:
        """To who has seen nothing all of the answer in one piece; to others the end, which holds the answer too."""
        text = (self._turn["assistant_message"] or {}).get("content", "")
        if self._seen > 0:
            return [self._end(self._last)]
        return [delta(2, text), self._end(3)] if text else [self._end(2)]

    def _end(self, number: int) -> Event:
        return Event(number, END_EVENTS[self._turn["state"]], self._turn)

    def wake(self) -> None:
        """Nothing is waited for."""

    async def aclose(self) -> None:
        """Nothing is held."""
