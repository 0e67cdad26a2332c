"""A process's share in the embedded MongoDB: start or join it, stay served, leave it."""

import asyncio
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import ConnectionFailure

from app.mongod.failures import DISK_FULL, MongodUnavailable, last_words
from app.mongod.folder import DataFolder, FileLock, read_end
from app.mongod.replica_set import socket_uri

_POLL_INTERVAL = 0.05
_WATCH_INTERVAL = 0.25
_LONGEST_PAUSE = 30.0  # seconds between attempts to start a keeper that fails again and again
_STOP_TIMEOUT = 40.0
_SMALLEST_DISK = 64 * 1024  # bytes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Locks:
    users: FileLock  # shared while this process uses the database
    keeper: FileLock  # only ever looked at: the keeper has it alone


class EmbeddedMongod:
    """This process's share in the mongod of a data folder; an asynchronous context manager that gives its URI.

    While it is started, mongod comes back at the same URI after a crash of its own or of its keeper.
    """

    def __init__(self, data: Path, mongod: Path, *, start_timeout: float = 60) -> None:
        """`mongod`: from `find_mongod`; `start_timeout`: seconds until `start` gives up."""
        self._data = data
        self._mongod = mongod
        self._start_timeout = start_timeout
        self._locks: _Locks | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> str:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> str:
        """Start mongod, or join the one that runs, and return its URI once a writable primary answers.

        Raises MongodUnavailable when that is impossible, or did not happen in time.
        """
        folder, locks = await asyncio.to_thread(_open, self._data)
        self._locks = locks
        try:
            uri = await self._join(folder, locks)
        except BaseException:
            await self.stop()
            raise
        self._watcher = asyncio.create_task(self._watch(folder, locks), name="watch the keeper of mongod")
        return uri

    async def stop(self, *, wait: bool = False) -> None:
        """Give up this process's share: mongod ends about a second after its last user has left.

        `wait`: if this was the last user, return only after mongod has ended (about 2 s, at most 40).
        """
        watcher, locks = self._watcher, self._locks
        self._watcher = self._locks = None
        if locks is None:
            return
        try:
            if watcher is not None:
                await _cancel(watcher)
            was_last = wait and locks.users.take()
            locks.users.close()
            if was_last:
                await _await_end(locks.keeper)
        finally:
            locks.users.close()
            locks.keeper.close()

    async def _join(self, folder: DataFolder, locks: _Locks) -> str:
        try:
            async with asyncio.timeout(self._start_timeout):
                # A keeper that is stopping has this lock alone, so whoever shares it has a keeper that stays.
                await _until(locks.users.share)
                return await self._await_primary(folder, locks)
        except TimeoutError:
            log = await asyncio.to_thread(read_end, folder.log)
            raise MongodUnavailable(
                f"The embedded MongoDB did not become ready within {self._start_timeout:g} s;"
                f" see {folder.keeper_log} and the end of {folder.log}: {last_words(log)}"
            ) from None

    async def _await_primary(self, folder: DataFolder, locks: _Locks) -> str:
        launched = False
        while True:
            has_keeper = locks.keeper.is_taken()
            # In this order: a keeper says why it fails before it gives up its lock.
            status = await asyncio.to_thread(folder.read_status)
            if has_keeper and status.state == "ready" and await _has_primary(socket_uri(status.socket)):
                return socket_uri(status.socket)
            if not has_keeper and launched and status.state == "failed":
                raise MongodUnavailable(status.error)
            if not has_keeper:
                await asyncio.to_thread(_launch_keeper, folder, self._mongod)
                launched = True
            await asyncio.sleep(_POLL_INTERVAL)

    async def _watch(self, folder: DataFolder, locks: _Locks) -> None:
        failures = 0
        while True:
            await asyncio.sleep(min(_WATCH_INTERVAL * 2**failures, _LONGEST_PAUSE))
            has_keeper = locks.keeper.is_taken()
            status = await asyncio.to_thread(folder.read_status)
            if has_keeper:
                failures = 0 if status.state == "ready" else failures
                continue
            failures += 1
            reason = status.error if status.state == "failed" else "its keeper was killed."
            logger.error("The embedded MongoDB ended and is started again: %s", reason)
            try:
                await asyncio.to_thread(_launch_keeper, folder, self._mongod)
            except MongodUnavailable:
                logger.exception("The embedded MongoDB could not be started again")


def _open(data: Path) -> tuple[DataFolder, _Locks]:
    try:
        folder = DataFolder(data)
        folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder, _Locks(FileLock(folder.users_lock), FileLock(folder.keeper_lock))
    except OSError as error:
        raise MongodUnavailable(
            f"The data folder {data} cannot be used ({error.strerror}: {error.filename}):"
            " make it writable, or set VERBATIM_DATA to another folder."
        ) from error


def _launch_keeper(folder: DataFolder, mongod: Path) -> None:
    """Start a keeper, which leaves at once if there is one; afterwards one of them has taken its lock."""
    source = str(Path(__file__).resolve().parents[2])
    # The keeper outlives this process and has no use for its secrets.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VERBATIM_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    try:
        with folder.keeper_log.open("ab") as log:
            subprocess.run(  # noqa: S603 (our own interpreter, module and settings)
                [sys.executable, "-P", "-m", "app.mongod.keeper", str(folder.path), str(mongod)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder.path,
                env=environment,
                start_new_session=True,  # Ctrl-C in the terminal is for its users; it leaves when they have left
                check=True,
            )
    except (OSError, subprocess.CalledProcessError) as error:
        raise MongodUnavailable(_why_not_launched(folder, error)) from error


def _why_not_launched(folder: DataFolder, error: Exception) -> str:
    if shutil.disk_usage(folder.path).free < _SMALLEST_DISK:  # then the keeper could not even write down its reason
        return DISK_FULL.format(data=folder.path)
    log_end = read_end(folder.keeper_log).strip().rpartition("\n")[2]
    return f"The keeper of the embedded MongoDB did not start ({error}); {folder.keeper_log} ends with: {log_end}"


async def _has_primary(uri: str) -> bool:
    async with AsyncMongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=2000) as client:
        try:
            await client.admin.command("ping")
        except ConnectionFailure:
            return False
    return True


async def _await_end(keeper: FileLock) -> None:
    try:
        async with asyncio.timeout(_STOP_TIMEOUT):
            await _until(lambda: not keeper.is_taken())
    except TimeoutError:
        logger.warning("The embedded MongoDB still runs: another process uses it by now, or it is slow to end")


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 (the lock of another process raises no event)
        await asyncio.sleep(_POLL_INTERVAL)


async def _cancel(task: asyncio.Task[None]) -> None:
    """End a task; if it had already failed, raise its error."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
