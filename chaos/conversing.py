"""Clients that ask and see the answer to its end, over however many connections; some leave in the middle and come
back."""

import asyncio
import random
import time

import httpx

from chaos.door import Door
from chaos.history import History, Kind, Request
from tests.faults.followers import Ledger, View, ask, retry
from tests.streams import events_of

_LEAVES = 0.3
"""How many of the connections a client drops by itself."""
_RETRIED = 0.5
_PATIENCE = 240.0
"""Seconds for one answer: longer than any fault lasts."""


class Asker:
    """One client with a conversation of its own."""

    def __init__(self, name: str, door: Door, history: History, ledger: Ledger, rng: random.Random) -> None:
        self.conversation = ""
        self.name = name
        self._door = door
        self._history = history
        self._ledger = ledger
        self._rng = rng

    async def converse(self, stop: asyncio.Event) -> None:
        """Ask one question after the other; an interrupted answer is sometimes asked for again."""
        number = 0
        while not stop.is_set():
            question = f"{self.name}:{number}"
            view = await self._see(View(question, ask(self.conversation, question)))
            while view.end == "turn.interrupted" and self._rng.random() < _RETRIED:
                view = await self._see(View(question, retry(view.turn_id)))
            number += 1
            await asyncio.sleep(self._rng.uniform(0, 0.5))

    async def _see(self, view: View) -> View:
        self._ledger.views.append(view)
        started = time.monotonic()
        try:
            async with asyncio.timeout(_PATIENCE):
                while not view.is_over:
                    await self._connect(view)
        except TimeoutError:
            view.fault(f"no end within {_PATIENCE:g} s, {len(view.events)} events were seen")
        view.ended_at = time.monotonic()
        failure = "" if view.end == "turn.completed" else view.end or "no end"
        self._history.requests.append(Request("turn", started, view.ended_at, view.connections, failure))
        return view

    async def _connect(self, view: View) -> None:
        """One connection, to its end or for as long as this client stays."""
        call = view.next_call(self._rng)
        kind: Kind = "ask" if call == view.call and not view.connections else "follow"
        response = await self._door.stream(kind, self._rng, call)
        view.connections += 1
        if response is None:
            return  # it does not give up: whether it was asked is not known
        try:
            await self._listen(view, response)
        except httpx.TransportError:
            return  # that server died or hangs: there is another one
        finally:
            await response.aclose()

    async def _listen(self, view: View, response: httpx.Response) -> None:
        patience = self._rng.randint(1, 20) if self._rng.random() < _LEAVES else None
        async for event in events_of(response):
            if event.event == "reconnect":
                return
            view.take(event)
            if patience is not None and (patience := patience - 1) == 0:
                return
        if not view.is_over:
            view.fault(f"the stream ended after event {len(view.events)} without saying why")
