"""One member of a replica set on loopback: a mongod that is a child of this process."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, Process
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from app.mongod.certificates import TlsFiles, client_options
from app.mongod.failures import INSTALL, MongodUnavailable, explain
from app.mongod.folder import read_end
from app.mongod.keeper import end_with_parent

_DIRECT: dict[str, Any] = {
    "directConnection": True,
    "serverSelectionTimeoutMS": 1000,
    "connectTimeoutMS": 1000,
    "socketTimeoutMS": 2000,
}


@dataclass(frozen=True)
class MemberOptions:
    """How every member of a set runs. `key_file`: what members prove themselves with; it switches authentication on.
    `tls`: they speak TLS, and nothing else."""

    replica_set: str
    key_file: Path | None = None
    tls: TlsFiles | None = None
    cache_gb: float = 0.25


class Member:
    """`mongodb://<host>`, with its data and log in `folder`. Call `start` in the main thread: Linux ends a member with
    the thread that started it."""

    def __init__(self, mongod: Path, folder: Path, port: int, options: MemberOptions) -> None:
        self.host = f"127.0.0.1:{port}"
        self.folder = folder
        self.credentials: dict[str, Any] = {}
        """`username` and `password` that `command` uses."""
        self._mongod = mongod
        self._options = options
        self._process: Process | None = None
        self._client: MongoClient[dict[str, Any]] | None = None

    @property
    def process(self) -> Process:
        if self._process is None:
            raise RuntimeError(f"the member {self.host} was not started")
        return self._process

    @property
    def log(self) -> str:
        """The end of what it logged."""
        return read_end(self.folder / "mongod.log")

    async def start(self) -> None:
        """Start the process; it is served a moment later. Raises MongodUnavailable."""
        (self.folder / "db").mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command_line(),
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=DEVNULL,
                start_new_session=True,  # Ctrl-C in the terminal is for whoever started it
                preexec_fn=end_with_parent() if sys.platform == "linux" else None,
            )
        except OSError as error:
            reason = f"{self._mongod} cannot be run on this machine ({error.strerror}): {INSTALL}."
            raise MongodUnavailable(reason) from error

    def _command_line(self) -> list[str]:
        key_file = self._options.key_file
        return [
            str(self._mongod),
            *("--dbpath", str(self.folder / "db")),
            *("--logpath", str(self.folder / "mongod.log"), "--logappend"),
            *("--bind_ip", "127.0.0.1", "--port", self.host.rpartition(":")[2], "--nounixsocket"),
            *("--replSet", self._options.replica_set, "--oplogSize", "64"),
            *(() if key_file is None else ("--keyFile", str(key_file))),
            *(() if self._options.tls is None else self._options.tls.options),
            *("--wiredTigerCacheSizeGB", str(self._options.cache_gb)),
            *("--wiredTigerEngineConfigString", "log=(file_max=16MB,prealloc=false)"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *("--setParameter", "transactionLifetimeLimitSeconds=5"),  # as the operations guide asks for
            # Who copies from a member that hangs looks for another one after 2 s, not 13: a majority may need it.
            *("--setParameter", "oplogNetworkTimeoutBufferSeconds=1"),
            *("--setParameter", "oplogFetcherSteadyStateMaxFetcherRestarts=0"),
            # Two members that stand for election within milliseconds both lose: spread over 0.8 s they seldom do.
            *("--setParameter", "replElectionTimeoutOffsetLimitFraction=0.4"),
            *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),  # nobody waits for it to hand over
            "--noscripting",
        ]

    def diagnose(self) -> str:
        """Why its process has ended, in one sentence."""
        return explain(self.process.returncode or 0, self.log, data=self.folder, mongod=self._mongod)

    async def command(self, name: str, value: Any = 1, **arguments: Any) -> dict[str, Any]:
        """What this member itself answers; raises PyMongoError."""
        return await asyncio.to_thread(self._command, name, value, arguments)

    def _command(self, name: str, value: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        # In a thread: the asynchronous client leaks a socket when the other side dies while it connects.
        if self._client is None:
            tls = {} if self._options.tls is None else client_options(self._options.tls.authority)
            self._client = MongoClient(f"mongodb://{self.host}", **_DIRECT, **tls, **self.credentials)
        return self._client.admin.command(name, value, **arguments)

    async def forget(self) -> None:
        """Close the connections to it: those from before it was a member know no sessions."""
        if self._client is not None:
            await asyncio.to_thread(self._client.close)
            self._client = None

    async def kill(self) -> None:
        """SIGKILL, also of a hung one, and wait until it is gone."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def terminate(self, seconds: float) -> None:
        """SIGTERM, and SIGKILL when it takes longer."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            await self.kill()
