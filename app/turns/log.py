"""The event stream of one running turn: what is appended is stored first, then shown to everyone who follows."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

EventName = Literal["turn.started", "delta", "turn.completed", "turn.failed", "turn.cancelled", "turn.interrupted"]

FLUSH_SECONDS = 0.025
"""Pieces that come within this time of the last write share the next one; the first piece is written at once."""


@dataclass(frozen=True)
class Event:
    """One event; numbers begin at 1 and have no gaps."""

    number: int
    name: EventName
    data: Any


class TurnLog:
    """Written by one task, followed by many.

    `store(seq, texts)` makes pieces durable. Nothing that it has not stored is ever published.
    """

    def __init__(self, store: Callable[[int, list[str]], Awaitable[None]], started: Any) -> None:
        self._store = store
        self._events: list[Event] = [Event(1, "turn.started", started)]
        self._published = asyncio.Condition()
        self._pending: list[str] = []
        self._has_pending = asyncio.Event()
        self._is_closed = asyncio.Event()
        self._is_over = False

    def write(self, text: str) -> None:
        """Hand over the next piece of the answer; a flush makes it durable and visible."""
        self._pending.append(text)
        self._has_pending.set()

    def close(self) -> None:
        """There are no more pieces: let `flush_until_closed` store the rest and return."""
        self._is_closed.set()
        self._has_pending.set()

    async def flush_until_closed(self) -> None:
        """Store and publish pieces as they come."""
        while True:
            await self._has_pending.wait()
            await self.flush()
            if self._is_closed.is_set():
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._is_closed.wait()

    async def flush(self) -> None:
        """Store and publish what is pending; pieces that cannot be stored stay pending."""
        texts, self._pending = self._pending, []
        self._has_pending.clear()
        if not texts:
            return
        first = len(self._events) + 1
        try:
            await self._store(first, texts)
        except BaseException:
            self._pending = texts + self._pending
            raise
        async with self._published:
            self._events.extend(Event(first + index, "delta", {"text": text}) for index, text in enumerate(texts))
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
        while True:
            async with self._published:
                while len(self._events) == seen:
                    await self._published.wait()
                fresh = self._events[seen:]
                is_over = self._is_over
            seen += len(fresh)
            for event in fresh:
                yield event
            if is_over and seen == len(self._events):
                return


def told_again(turn: Any, name: EventName, text: str) -> list[Event]:
    """The stream of a turn that is over: the whole answer is one piece."""
    pieces = [text] if text else []
    events = [Event(1, "turn.started", turn), *(Event(2, "delta", {"text": piece}) for piece in pieces)]
    return [*events, Event(len(events) + 1, name, turn)]
