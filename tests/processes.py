"""Real `verbatim serve` processes, each stopped by its own process id.

async with ServerProcess(data) as server:
    async with server.client() as client:
        await client.get("/api/users/me")
    server.kill()
"""

import asyncio
import json
import os
import re
import signal
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import httpx

ROOT = Path(__file__).parents[1]
ADMIN_KEY = "the-admin-key-of-the-server-processes-of-the-tests"
_PATIENCE = 60.0


class Process(Protocol):
    """What a server process can do, however it was started: a part of `asyncio.subprocess.Process`."""

    @property
    def pid(self) -> int: ...
    @property
    def stdout(self) -> asyncio.StreamReader | None: ...
    @property
    def returncode(self) -> int | None: ...
    def kill(self) -> None: ...
    def send_signal(self, signal: int) -> None: ...
    async def wait(self) -> int: ...
    async def communicate(self) -> tuple[bytes, Any]: ...


class ServerProcess:
    """One server on a free port; an asynchronous context manager. Its log is printed when the test fails.

    `settings`: further settings by their names, as text or as what becomes JSON. Without `mongo_uri` it starts the
    embedded MongoDB in `data`.
    """

    def __init__(self, data: Path, *options: str, **settings: Any) -> None:
        self.data = data
        self.url = ""
        self.welcome = ""
        self._options = ("--port", "0", *options)
        unlimited = {"rate_limit_per_user": 0, "rate_limit_per_address": 0}  # tests ask more than people do
        self._settings = {"bootstrap_key": ADMIN_KEY, "drain_timeout": 5, **unlimited, **settings}
        self._process: Process | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 closed at the end of the context

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        """What the server has written to standard error."""
        self._log.seek(0)
        return self._log.read().decode()

    async def start(self) -> None:
        """Start the process, and return when it serves."""
        self.data.mkdir(parents=True, exist_ok=True)
        self._process = await self._spawn()
        async with asyncio.timeout(_PATIENCE):
            self.welcome = await self._read_welcome()
        url = re.search(r"^Verbatim +(http\S+)$", self.welcome, re.MULTILINE)
        assert url is not None, f"{self.welcome}\n{self.log}"
        self.url = url.group(1)

    async def _spawn(self) -> Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.cli", "serve", "--data", str(self.data), *self._options),
            cwd=self.data,  # where there is no .env
            env=self._environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
        )

    async def _read_welcome(self) -> str:
        assert self.process.stdout is not None
        text = ""
        while line := await self.process.stdout.readline():
            text += line.decode()
            if "Ctrl-C" in text:
                break
        return text

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("VERBATIM_")}
        own = {
            f"VERBATIM_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in self._settings.items()
            if value is not None
        }
        return {**inherited, **own, "PYTHONPATH": str(ROOT)}

    def client(self, key: str = ADMIN_KEY, **options: Any) -> httpx.AsyncClient:
        """A client with the admin's key, or another one."""
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60, **options)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def ended(self, timeout: float = _PATIENCE) -> int:
        """The exit status, once there is one."""
        async with asyncio.timeout(timeout):
            return await self.process.wait()

    async def terminate(self) -> int:
        """SIGTERM, and the exit status."""
        self.signal()
        return await self.ended()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self._end(has_failed=True)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end(has_failed=error is not None)

    async def _end(self, *, has_failed: bool) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.communicate()
        if has_failed:
            print(f"--- log of the server at {self.url or self.data}\n{self.log}")
        self._log.close()
