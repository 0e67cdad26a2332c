"""The events of one turn as this process knows them: whoever follows reads them here, each at its own pace."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Any, cast

from app.turns.events import Event

BATCH = 256
"""Events that a follower is handed at once."""


class TurnLog:
    """Every event from the first one on, in order and without gaps; only what is stored is ever published."""

    def __init__(self, started: Any) -> None:
        self._events = [Event(1, "turn.started", started)]
        self._followers: set[asyncio.Event] = set()
        self.is_over = False

    @property
    def last(self) -> int:
        """The number of the newest event."""
        return len(self._events)

    @property
    def started(self) -> dict[str, Any]:
        """The turn as it was when it began."""
        return cast("dict[str, Any]", self._events[0].data)

    @property
    def text(self) -> str:
        """What was published of the answer so far."""
        return "".join([event.data["text"] for event in self._events if event.name == "delta"])

    def publish(self, *events: Event) -> None:
        """Show the next events to everyone who follows; nothing comes after an event that is no delta."""
        for event in events:
            if self.is_over or event.number != self.last + 1:
                raise ValueError(f"event {event.number} does not follow {self.last}")
            self._events.append(event)
            self.is_over = event.name != "delta"
        for follower in self._followers:
            follower.set()

    def read(self, after: int) -> Sequence[Event]:
        """The events behind a number, up to a batch of them."""
        return self._events[after : after + BATCH]

    def follow(self, after: int = 0) -> "LogFollower":
        """The events behind a number: those that are there, then those to come."""
        return LogFollower(self, self._followers, after)

    async def ended(self) -> Any:
        """The turn when it is over."""
        follower = self.follow(self.last)
        try:
            while not self.is_over:
                await follower.next(None)
        finally:
            await follower.aclose()
        return self._events[-1].data


class LogFollower:
    """One reader of a log. It holds no more than a number, so it costs the turn nothing to be slow."""

    def __init__(self, log: TurnLog, followers: set[asyncio.Event], after: int) -> None:
        self._log = log
        self._followers = followers
        self._seen = after
        self._has_end = False
        self._news = asyncio.Event()
        followers.add(self._news)

    async def next(self, seconds: float | None) -> Sequence[Event] | None:
        """The next events, waited for at most so long: nothing when there were none, None behind the last one."""
        if self._has_end:
            return None
        if self._seen >= self._log.last and not self._log.is_over:
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._news.wait()
        if self._log.is_over:
            self._seen = min(self._seen, self._log.last - 1)  # the end is told to everybody, also to who knows it
        events = self._log.read(self._seen)
        self._seen += len(events)
        self._has_end = self._log.is_over and self._seen == self._log.last
        return events

    def wake(self) -> None:
        """End the present wait."""
        self._news.set()

    async def aclose(self) -> None:
        self._followers.discard(self._news)


async def events_of(follower: LogFollower) -> AsyncGenerator[Event, None]:
    """A follower's events one by one, to the last."""
    try:
        while (events := await follower.next(None)) is not None:
            for event in events:
                yield event
    finally:
        await follower.aclose()
