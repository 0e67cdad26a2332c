"""The event stream of one running turn: what is appended is stored first, then shown to everyone who follows."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

EventName = Literal["turn.started", "delta", "turn.completed", "turn.failed", "turn.cancelled", "turn.interrupted"]

END_EVENTS: Mapping[str, EventName] = {
    "completed": "turn.completed",
    "failed": "turn.failed",
    "cancelled": "turn.cancelled",
    "interrupted": "turn.interrupted",
}
"""The last event of a turn, by the state it ended in."""

FLUSH_SECONDS = 0.025
"""Pieces that come within this time of the last write share the next delta; the first one is written at once."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event; numbers begin at 1 and have no gaps."""

    number: int
    name: EventName
    data: Any


class TurnLog:
    """Written by one task, followed by many.

    `store(number, text)` makes a delta durable. Nothing that it has not stored is ever published.
    """

    def __init__(self, store: Callable[[int, str], Awaitable[None]], started: Any) -> None:
        self._store = store
        self._events: list[Event] = [Event(1, "turn.started", started)]
        self._published = asyncio.Condition()
        self._pending: list[str] = []
        self._has_news = asyncio.Event()
        self._is_closed = asyncio.Event()
        self._is_over = False

    @property
    def text(self) -> str:
        """What was published of the answer so far."""
        return "".join(event.data["text"] for event in self._events if event.name == "delta")

    def write(self, text: str) -> None:
        """Hand over the next piece of the answer; pieces that share a flush become one delta."""
        self._pending.append(text)
        self._has_news.set()

    def close(self) -> None:
        """There are no more pieces: let `flush_until_closed` store the rest and return."""
        self._is_closed.set()
        self._has_news.set()

    async def flush_until_closed(self) -> None:
        """Store and publish pieces as they come; raises what `store` raises."""
        while self._pending or not self._is_closed.is_set():
            await self._has_news.wait()
            self._has_news.clear()
            await self._flush()
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._is_closed.wait()

    async def _flush(self) -> None:
        text = "".join(self._pending)
        self._pending.clear()
        if not text:
            return
        number = len(self._events) + 1
        await self._store(number, text)
        async with self._published:
            self._events.append(Event(number, "delta", {"text": text}))
            self._published.notify_all()

    async def end(self, name: EventName, data: Any) -> None:
        """Publish the last event."""
        async with self._published:
            self._events.append(Event(len(self._events) + 1, name, data))
            self._is_over = True
            self._published.notify_all()

    async def follow(self) -> AsyncGenerator[Event, None]:
        """Every event from the first to the last, as it comes."""
        seen = 0
        while not (self._is_over and seen == len(self._events)):
            async with self._published:
                await self._published.wait_for(lambda: len(self._events) > seen)  # noqa: B023 called at once
                fresh = self._events[seen:]
            seen += len(fresh)
            for event in fresh:
                yield event


def told_again(turn: Any, name: EventName, texts: Sequence[str]) -> list[Event]:
    """The whole stream of a turn that is over; `texts` are its deltas."""
    deltas = [Event(2 + index, "delta", {"text": text}) for index, text in enumerate(texts)]
    return [Event(1, "turn.started", turn), *deltas, Event(len(texts) + 2, name, turn)]
