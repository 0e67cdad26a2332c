"""Messages that are appended while something is killed, and what a webhook was told of them."""

import asyncio
import random
import secrets
from typing import Any

import httpx

from tests.api.calls import new_conversation
from tests.faults.fleet import Fleet
from tests.webhooks.conftest import subscribe
from tests.webhooks.receiver import Receiver

SETTINGS: dict[str, Any] = {
    "webhook_allow": ["127.0.0.1"],
    "webhook_timeout": 1.5,
    "turn_lease": 1,
    "log_level": "warning",
    "search_builder": False,
}


class Telling:
    """One conversation, and a receiver that is told of its messages."""

    def __init__(self, fleet: Fleet, receiver: Receiver) -> None:
        seed = secrets.randbits(32)
        print(f"seed {seed}")
        self.rng = random.Random(seed)
        self.fleet = fleet
        self.receiver = receiver
        self._path = ""

    async def begin(self) -> None:
        client = await self.client()
        await subscribe(client, self.receiver.url())
        conversation = await new_conversation(client)
        self._path = f"/api/conversations/{conversation['id']}/messages"

    async def client(self) -> httpx.AsyncClient:
        """One that leads to a server that serves."""
        return (await self.fleet.pick(self.rng)).client

    async def append(self, count: int) -> None:
        """So many messages at the same time, each until a server has confirmed it."""
        await asyncio.gather(*(self._append() for _ in range(count)))

    async def _append(self) -> None:
        key = {"Idempotency-Key": secrets.token_hex(8)}
        message = {"role": "user", "content": "Hello"}
        status = None
        while status != 201:
            try:
                status = (await (await self.client()).post(self._path, json=message, headers=key)).status_code
            except httpx.TransportError:
                status = None

    async def check(self, count: int) -> None:
        """So many messages are stored, and each of them, nothing else, was told under one id."""
        answer = await (await self.client()).get(self._path, params={"limit": 1000})
        stored = {each["id"] for each in answer.json()["items"]}
        async with asyncio.timeout(60):
            while {each.data["id"] for each in self.receiver.received} < stored:
                await self.receiver.next()
        told = {(each.data["id"], each.id) for each in self.receiver.received}
        print(f"{len(stored)} messages, {len(self.receiver.received)} requests")
        assert len(stored) == count
        assert sorted(id for id, _ in told) == sorted(stored)
