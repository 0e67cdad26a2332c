"""Two servers on one database, each with an address that it keeps from process to process.

async with Servers(nursery, folder, names="ab", **settings) as servers:
    await servers.kill("a")
    await servers.start("a")
"""

import asyncio
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from app.mongod.local_set import until
from tests.faults.nursery import Nursery
from tests.processes import ServerProcess

_READY_SECONDS = 60.0


class Servers:
    """An asynchronous context manager; all serve when it is entered."""

    def __init__(self, nursery: Nursery, folder: Path, names: str, **settings: Any) -> None:
        self.faults: list[str] = []
        """Sentences about processes that ended as they should not, or logged an error nobody had thought of."""
        self._nursery = nursery
        self._folder = folder
        self._names = names
        self._settings = settings
        self._running: dict[str, ServerProcess] = {}
        self._urls: dict[str, str] = {}
        self._stack = AsyncExitStack()

    @property
    def urls(self) -> list[str]:
        return [self._urls[name] for name in self._names]

    @property
    def addresses(self) -> Mapping[str, str]:
        """Where each is, by its name."""
        return self._urls

    @property
    def processes(self) -> Mapping[int, str]:
        """Which process is which server, of those that run."""
        return {server.process.pid: name for name, server in self._running.items()}

    async def start(self, name: str) -> None:
        """Start one, at its address if it had one; returns when it serves."""
        port = self._urls.get(name, ":0").rpartition(":")[2]
        server = self._nursery.server(self._folder / name, "--port", port, **self._settings)
        await self._stack.enter_async_context(server)
        self._running[name] = server
        self._urls[name] = server.url

    async def kill(self, name: str) -> None:
        """SIGKILL."""
        server = self._take(name)
        server.kill()
        await server.ended()
        self._examine(name, server)

    async def stop(self, name: str) -> None:
        """SIGTERM; returns when it has ended."""
        server = self._take(name)
        if (status := await server.terminate()) != 0:
            self.faults.append(f"server {name} was told to stop and ended with {status}")
        self._examine(name, server)

    def hang(self, name: str) -> None:
        """SIGSTOP."""
        self._running[name].signal(signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        """SIGCONT."""
        self._running[name].signal(signal.SIGCONT)

    async def ready(self) -> None:
        """Return when all answer that they serve; raises TimeoutError."""
        async with httpx.AsyncClient(timeout=2) as client:
            await until(lambda: self._are_ready(client), _READY_SECONDS)

    async def _are_ready(self, client: httpx.AsyncClient) -> bool:
        try:
            answers = await asyncio.gather(*(client.get(f"{url}/health/ready") for url in self.urls))
        except httpx.TransportError:
            return False
        return all(answer.status_code == 200 for answer in answers)

    def _take(self, name: str) -> ServerProcess:
        return self._running.pop(name)

    def _examine(self, name: str, server: ServerProcess) -> None:
        before, found, after = server.log.partition("Traceback")
        if found:
            self.faults.append(f"server {name} logged an error:\n{before[-500:]}{found}{after[:8000]}")

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.TaskGroup() as starts:
                for name in self._names:
                    starts.create_task(self.start(name))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for name, server in self._running.items():
            if server.process.returncode is not None:
                self.faults.append(f"server {name} ended by itself, with {server.process.returncode}")
            self._examine(name, server)
        await self._stack.__aexit__(kind, error, traceback)
