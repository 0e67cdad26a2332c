"""The processes of one data folder, always found by the ids they left there, never by name."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path

import psutil

from app.mongod.folder import DataFolder


class User:
    """Another process that uses the embedded MongoDB."""

    def __init__(self, process: Process, uri: str) -> None:
        self._process = process
        self.uri = uri

    @classmethod
    async def start(cls, data: Path) -> "User":
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.mongod.user", str(data), stdin=PIPE, stdout=PIPE
        )
        assert process.stdout is not None
        return cls(process, (await process.stdout.readline()).decode().strip())

    async def kill(self) -> None:
        self._process.kill()
        await self._process.communicate(b"")

    async def leave(self) -> int | None:
        await self._process.communicate(b"")
        return self._process.returncode


async def until(condition: Callable[[], bool], timeout: float = 30) -> None:
    """Wait for something in another process, which raises no event here."""
    async with asyncio.timeout(timeout):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def find_mongod_process(data: Path) -> psutil.Process:
    return psutil.Process(DataFolder(data).read_status().mongod)


def find_keeper(data: Path) -> psutil.Process:
    keeper = find_mongod_process(data).parent()
    assert keeper is not None
    assert "app.mongod.keeper" in keeper.cmdline()
    return keeper


async def end(process: psutil.Process) -> None:
    """Wait until a process is gone; only its zombie may stay, where nobody reaps orphans."""
    await until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


def was_clean(data: Path) -> bool:
    """Whether the last mongod ended in order: only then does it empty its lock file."""
    return (DataFolder(data).db / "mongod.lock").read_bytes() == b""
