"""MongoDB away for a while: clients go on coming to a server, and what it costs them and the server is written down.

async with Outage(server, per_second=40) as outage:
    await asyncio.sleep(2)
    ... the members are stopped ...
    await asyncio.sleep(12)
    ... and started again ...
    seconds = await outage.recovered(since, timeout=30)

They come at a rate, whether earlier ones were answered or not: so what the server does not answer piles up in it.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx
import psutil

from tests.processes import ServerProcess
from tests.turns.conftest import new_conversation

CONVERSATIONS = 20


@dataclass(frozen=True)
class Asked:
    """One request: when it was sent on the monotonic clock, what it took, and how it was answered."""

    at: float
    seconds: float
    status: int
    problem: str = ""
    retry_after: str | None = None
    is_write: bool = False


@dataclass(frozen=True)
class Footprint:
    """What the server's process has at one moment."""

    descriptors: int
    threads: int
    megabytes: float


class Outage:
    """Reads and writes of conversations, a request after the other, while the block runs."""

    def __init__(self, server: ServerProcess, *, per_second: float) -> None:
        self.asked: list[Asked] = []
        self._server = server
        self._pause = 1 / per_second
        self._coming: asyncio.Task[None] | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._client = self._server.client(limits=httpx.Limits(max_connections=None, max_keepalive_connections=50))
        paths = [await new_conversation(self._client) for _ in range(CONVERSATIONS)]
        self._coming = asyncio.create_task(self._come(paths))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._coming is not None
        self._coming.cancel()
        for task in self._open:
            task.cancel()
        await asyncio.gather(self._coming, *self._open, return_exceptions=True)
        await self._client.aclose()

    async def _come(self, paths: list[str]) -> None:
        for count in range(1_000_000):
            path = paths[count // 2 % len(paths)]
            task = asyncio.create_task(self._ask(path, str(count), is_write=count % 2 == 0))
            self._open.add(task)
            task.add_done_callback(self._open.discard)
            await asyncio.sleep(self._pause)

    @property
    def unanswered(self) -> int:
        return len(self._open)

    async def _ask(self, path: str, content: str, *, is_write: bool) -> None:
        at = time.monotonic()
        if is_write:
            body = {"role": "user", "content": content}
            answer = await self._client.post(f"{path}/messages", json=body, headers={"Idempotency-Key": content})
        else:
            answer = await self._client.get(path)
        problem = answer.json().get("code", "") if answer.status_code >= 400 else ""
        retry_after = answer.headers.get("retry-after")
        taken = time.monotonic() - at
        self.asked.append(Asked(at, taken, answer.status_code, problem, retry_after, is_write))

    async def recovered(self, since: float, timeout: float) -> float:
        """Seconds from `since` until a read and a write that were sent later have succeeded."""
        async with asyncio.timeout(timeout):
            while not (ends := self._first_successes(since)):  # noqa: ASYNC110 the clients raise no event
                await asyncio.sleep(0.05)
        return max(ends) - since

    def _first_successes(self, since: float) -> list[float]:
        """When the first read and the first write ended that succeeded after `since`, once there are both."""
        good = [each for each in self.asked if each.status < 300 and each.at >= since]
        first = [next((each for each in good if each.is_write == kind), None) for kind in (True, False)]
        ends = [each.at + each.seconds for each in first if each is not None]
        return ends if len(ends) == len(first) else []

    def sent(self, since: float, until: float) -> list[Asked]:
        """What was sent in that time."""
        return [each for each in self.asked if since <= each.at < until]

    def footprint(self) -> Footprint:
        process = psutil.Process(self._server.pid)
        return Footprint(process.num_fds(), process.num_threads(), process.memory_info().rss / 2**20)


def statuses(asked: list[Asked]) -> Counter[tuple[int, str]]:
    return Counter((each.status, each.problem) for each in asked)
