"""Clients that ask, follow and come back until they know the end, and remember every event they saw.

A `View` is what one client saw of one turn, over all its connections; a `Ledger` is what all of them saw.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.faults.fleet import Seat
from tests.streams import Received, events_of, joined

ENDS = frozenset(("turn.completed", "turn.failed", "turn.cancelled", "turn.interrupted"))
MODEL = "local:story"
_CONNECTIONS = 40
_SECONDS = 60.0
_PAUSE = 0.25

Pick = Callable[[], Awaitable[Seat]]


@dataclass(frozen=True)
class Call:
    """One HTTP request that is answered by a stream of a turn."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def after(self, number: int) -> "Call":
        """The same call, for the events behind this one."""
        return Call(self.method, self.path, self.body, {**self.headers, "Last-Event-ID": str(number)})


def ask(conversation: str, question: str) -> Call:
    """A keyed question; the path of the conversation is `/api/conversations/<id>`."""
    body = {"content": question, "model": MODEL, "stream": True}
    return Call("POST", f"{conversation}/turns", body, {"Idempotency-Key": question})


def retry(turn_id: str) -> Call:
    """Run an interrupted turn again."""
    return Call("POST", f"/api/turns/{turn_id}/retry", {"stream": True}, {"Idempotency-Key": f"again {turn_id}"})


def watch(turn_id: str, after: int = 0) -> Call:
    """Follow a turn that somebody has begun."""
    query = f"?after={after}" if after else ""
    return Call("GET", f"/api/turns/{turn_id}/events{query}")


@dataclass
class View:
    """What one client saw of one turn. `begun_on`: the server that began it, where that is certain."""

    question: str
    call: Call
    turn_id: str = ""
    events: list[Received] = field(default_factory=list)
    connections: int = 0
    begun_on: Seat | None = None
    ended_at: float = 0.0
    longest_silence: float = 0.0
    faults: list[str] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def text(self) -> str:
        return joined(self.events)

    @property
    def is_over(self) -> bool:
        return bool(self.events) and self.events[-1].event in ENDS

    @property
    def end(self) -> str:
        """The name of the last event, once it is over."""
        return self.events[-1].event if self.is_over else ""

    def take(self, event: Received) -> None:
        """One more event, or one that was seen before and must be the same again."""
        if event.id == len(self.events) + 1:
            self._append(event)
        elif not 0 < event.id <= len(self.events):
            self.fault(f"event {event.id} came after event {len(self.events)}")
        elif _differ(event, self.events[event.id - 1]):
            self.fault(f"event {event.id} was {self.events[event.id - 1]} and is now {event}")

    def _append(self, event: Received) -> None:
        if self.is_over:
            self.fault(f"event {event.id} came behind the end")
        if (event.id == 1) != (event.event == "turn.started"):
            self.fault(f"event {event.id} is {event.event}")
        if event.id == 1:
            self._begin(str(event.data["id"]))
        self.events.append(event)
        self._news.set()

    def _begin(self, turn_id: str) -> None:
        if self.turn_id not in {"", turn_id}:
            self.fault(f"turn {self.turn_id} became turn {turn_id}")
        self.turn_id = turn_id

    def next_call(self, rng: random.Random) -> Call:
        """The first call; later, and with any knowledge of the turn, any of the ways back to it."""
        if not self.connections:
            return self.call
        seen = len(self.events)
        ways = [self.call, self.call.after(seen)] if seen else [self.call]
        if self.turn_id:
            ways += [watch(self.turn_id, seen), watch(self.turn_id).after(seen)]
        return rng.choice(ways)

    async def reach(self, number: int) -> None:
        """Return when so many events were seen."""
        while len(self.events) < number:
            self._news.clear()
            await self._news.wait()

    def fault(self, sentence: str) -> None:
        self.faults.append(f"{self.call.method} {self.call.path} {self.question!r}: {sentence}")


def _differ(event: Received, before: Received) -> bool:
    """The turn itself goes on between two looks at its first event; everything else stays as it was."""
    if event.event == before.event == "turn.started":
        return bool(event.data["id"] != before.data["id"])
    return event != before


class Ledger:
    """All views of a run, and whether many streams are running right now."""

    def __init__(self, busy: int = 1) -> None:
        """`busy`: that many streams are many."""
        self.views: list[View] = []
        self.streams = 0
        self._busy = busy
        self._is_busy = asyncio.Event()

    @property
    def faults(self) -> list[str]:
        return [fault for view in self.views for fault in view.faults]

    def count(self, change: int) -> None:
        self.streams += change
        if self.streams >= self._busy:
            self._is_busy.set()
        else:
            self._is_busy.clear()

    async def wait_until_busy(self) -> None:
        await self._is_busy.wait()


class Follower:
    """One client: reaches whichever server `pick` gives, in a way it chooses by `rng` each time."""

    def __init__(self, ledger: Ledger, pick: Pick, rng: random.Random) -> None:
        self._ledger = ledger
        self._pick = pick
        self._rng = rng

    async def follow(self, view: View) -> View:
        """Call until the end of the turn is seen, or for longer than any turn may take."""
        self._ledger.views.append(view)
        try:
            async with asyncio.timeout(_SECONDS):
                while not view.is_over and view.connections < _CONNECTIONS:
                    await self._connect(view)
        except TimeoutError:
            view.fault(f"no end within {_SECONDS:g} s; the last of {len(view.events)} events is {view.events[-1:]}")
        view.ended_at = time.monotonic()
        return view

    async def _connect(self, view: View) -> None:
        seat = await self._pick()
        call = view.next_call(self._rng)
        view.connections += 1
        try:
            await self._listen(seat, call, view)
        except httpx.TimeoutException as error:
            view.fault(f"{type(error).__name__} after event {len(view.events)}")
        except httpx.TransportError:
            return  # its server died: there are others

    async def _listen(self, seat: Seat, call: Call, view: View) -> None:
        """Take the events of one connection, to its end or to its break."""
        asked_at = time.monotonic()
        async with seat.client.stream(call.method, call.path, json=call.body, headers=call.headers) as response:
            if response.status_code != 200:
                view.fault(f"{call.method} answered {response.status_code} {(await response.aread())[:500]!r}")
                await asyncio.sleep(_PAUSE)
                return
            is_first = not view.events and call == view.call and call.method == "POST"
            if is_first and "idempotency-replayed" not in response.headers:
                view.begun_on = seat
            self._ledger.count(+1)
            try:
                await _take_all(response, view, asked_at)
            finally:
                self._ledger.count(-1)


async def _take_all(response: httpx.Response, view: View, last_at: float) -> None:
    async for event in events_of(response):
        now = time.monotonic()
        view.longest_silence, last_at = max(view.longest_silence, now - last_at), now
        if event.event == "reconnect":
            return
        view.take(event)
    if not view.is_over:
        view.fault(f"the stream ended after event {len(view.events)} without saying why")
