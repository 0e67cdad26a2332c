"""Clients with a conversation each, who go on asking until they are told to stop."""

import asyncio
import random
from dataclasses import dataclass

import httpx

from tests.faults.followers import Follower, Ledger, Pick, View, ask, retry, watch

_WATCHED = 0.25
_RETRIED = 0.5


@dataclass
class Author:
    """One client; another one follows some of its turns at the same time, on any server."""

    name: str
    ledger: Ledger
    pick: Pick
    rng: random.Random
    conversation: str = ""

    async def write(self, stop: asyncio.Event) -> None:
        """Ask one question after the other; an interrupted answer is sometimes asked for again."""
        await self.open()
        number = 0
        while not stop.is_set():
            view = await self.ask(f"{self.name}:{number}")
            while view.end == "turn.interrupted" and self.rng.random() < _RETRIED:
                view = await self._see(View(view.question, retry(view.turn_id)))
            number += 1

    async def open(self) -> None:
        """Begin the conversation, once, whatever happens on the way."""
        while not self.conversation:
            seat = await self.pick()
            try:
                response = await seat.client.post(
                    "/api/conversations", json={"title": self.name}, headers={"Idempotency-Key": self.name}
                )
            except httpx.TransportError:
                continue
            assert response.status_code == 201, response.text
            self.conversation = response.headers["location"]

    async def ask(self, question: str) -> View:
        """Ask, and see the answer to its end."""
        return await self._see(View(question, ask(self.conversation, question)))

    async def _see(self, view: View) -> View:
        follower = Follower(self.ledger, self.pick, self.rng)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follower.follow(view))
            if self.rng.random() < _WATCHED:
                tasks.create_task(self._watch(view, follower))
        return view

    async def _watch(self, view: View, follower: Follower) -> None:
        await view.reach(1)
        await follower.follow(View(view.question, watch(view.turn_id), view.turn_id))


async def look_again(ledger: Ledger, pick: Pick, rng: random.Random, readers: int = 10) -> None:
    """Follow every turn once more after its end, as somebody who comes late."""
    views = {view.turn_id: view for view in ledger.views}.values()
    waiting = iter([View(view.question, watch(view.turn_id), view.turn_id) for view in views])

    async def read() -> None:
        for view in waiting:
            await Follower(ledger, pick, rng).follow(view)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(readers):
            tasks.create_task(read())
