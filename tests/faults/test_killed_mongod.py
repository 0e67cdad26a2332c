"""The embedded mongod is killed under load: every request waits, none fails, nothing acknowledged is lost."""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.mongod.processes import find_mongod_process, until
from tests.processes import ServerProcess
from tests.turns.conftest import messages_of, new_conversation

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

WRITERS = 6
LONGEST_STALL = 15.0


class Load:
    """Writers and askers over HTTP, each on a conversation of its own, that never stop by themselves."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.acknowledged: dict[str, list[str]] = {}
        self.failures: list[str] = []
        self.longest_stall = 0.0

    @property
    def count(self) -> int:
        return sum(len(contents) for contents in self.acknowledged.values())

    async def write(self, writer: int) -> None:
        """Append notes, and every fifth time ask."""
        path = await new_conversation(self._client)
        self.acknowledged[path] = []
        for number in range(1_000_000):
            content = f"{writer}-{number}"
            is_turn = number % 5 == 4
            body: dict[str, Any] = {"content": content} if is_turn else {"role": "user", "content": content}
            started = time.monotonic()
            response = await self._client.post(
                f"{path}/{'turns' if is_turn else 'messages'}", json=body, headers={"Idempotency-Key": content}
            )
            self.longest_stall = max(self.longest_stall, time.monotonic() - started)
            if response.status_code == 201:
                self.acknowledged[path] += [content] * (2 if is_turn else 1)
            else:
                self.failures.append(f"{response.status_code} {response.text}")

    async def grow(self, by: int) -> None:
        target = self.count + by
        await until(lambda: self.count >= target or bool(self.failures))


async def test_a_killed_mongod_costs_a_pause_and_nothing_else(data: Path) -> None:
    limits = httpx.Limits(max_connections=WRITERS)
    async with ServerProcess(data) as server, server.client(limits=limits) as client:
        load = Load(client)
        async with asyncio.TaskGroup() as tasks:
            writers = [tasks.create_task(load.write(number)) for number in range(WRITERS)]
            for _ in range(2):
                await load.grow(by=60)
                find_mongod_process(data).kill()
                await load.grow(by=60)
            for writer in writers:
                writer.cancel()
        print(f"{load.count} writes acknowledged, longest stall {load.longest_stall:.2f} s")

        assert load.failures == []
        for path, contents in load.acknowledged.items():
            stored = await messages_of(client, path)
            assert [message["content"] for message in stored][: len(contents)] == contents
            assert [message["seq"] for message in stored] == list(range(1, len(stored) + 1))
            assert len(stored) - len(contents) <= 2  # at most the request that was cut off at the end
        assert load.longest_stall < LONGEST_STALL
        assert await server.terminate() == 0
