"""A replica set of three real members on loopback that can be killed, hung and brought back one by one.

async with ReplicaSet(folder, find_mongod(None)) as replica_set:
    client = AsyncMongoClient(replica_set.uri)
    killed = await replica_set.kill_primary()
    await replica_set.restart(killed)
    await replica_set.healthy()

Every wait is bounded. Members are ended by their own process ids, and the kernel ends them with the tests.
"""

import asyncio
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from app.mongod.folder import read_end
from app.mongod.keeper import end_with_parent

NAME = "faults"
MEMBERS = 3
ELECTION_TIMEOUT = 2000  # milliseconds
_START_SECONDS = 60.0
_ELECTION_SECONDS = 60.0
_HEALTH_SECONDS = 180.0  # a killed primary may roll back first, which once took 157 s
_PRIMARY, _SECONDARY = 1, 2
_DIRECT: dict[str, Any] = {
    "directConnection": True,
    "serverSelectionTimeoutMS": 1000,
    "connectTimeoutMS": 1000,
    "socketTimeoutMS": 2000,
}

Status = dict[str, Any]
T = TypeVar("T")


class Member:
    """One mongod: `mongodb://<host>`, its data in `folder`."""

    def __init__(self, mongod: Path, folder: Path, port: int) -> None:
        self.host = f"127.0.0.1:{port}"
        self._mongod = mongod
        self._folder = folder
        self._process: Process | None = None
        self._client: MongoClient[dict[str, Any]] | None = None

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        """The end of what it logged."""
        return read_end(self._folder / "mongod.log")

    async def start(self) -> None:
        """Start the process; it is served a moment later."""
        db = self._folder / "db"
        db.mkdir(parents=True, exist_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            str(self._mongod),
            *("--dbpath", str(db)),
            *("--logpath", str(self._folder / "mongod.log"), "--logappend"),
            *("--bind_ip", "127.0.0.1", "--port", self.host.rpartition(":")[2], "--nounixsocket"),
            *("--replSet", NAME, "--oplogSize", "64"),
            *("--wiredTigerCacheSizeGB", "0.25"),
            *("--wiredTigerEngineConfigString", "log=(file_max=16MB,prealloc=false)"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *("--setParameter", "transactionLifetimeLimitSeconds=5"),  # as the operations guide asks for
            "--noscripting",
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
            preexec_fn=end_with_parent() if sys.platform == "linux" else None,
        )

    async def command(self, name: str, value: Any = 1) -> dict[str, Any]:
        """What this member itself answers; raises PyMongoError."""
        return await asyncio.to_thread(self._command, name, value)

    def _command(self, name: str, value: Any) -> dict[str, Any]:
        # In a thread: the asynchronous client leaks a socket when the other side dies while it connects.
        if self._client is None:
            self._client = MongoClient(f"mongodb://{self.host}", **_DIRECT)
        return self._client.admin.command(name, value)

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

    def stop(self) -> None:
        """SIGSTOP: it stays connected and says nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)


class ReplicaSet:
    """Three members; an asynchronous context manager that is healthy when it is entered.

    `uri` names all members, for clients opened afterwards.
    """

    def __init__(self, folder: Path, mongod: Path) -> None:
        ports = _free_ports(MEMBERS)
        self.members = [Member(mongod, folder / f"member {port}", port) for port in ports]
        self._stack = AsyncExitStack()

    @property
    def uri(self) -> str:
        return f"mongodb://{','.join(member.host for member in self.members)}/?replicaSet={NAME}"

    async def primary(self) -> Member:
        """The member that says of itself that it is a writable primary, once there is one."""
        return await _until(self._find_primary, _ELECTION_SECONDS, self._report)

    async def secondaries(self) -> list[Member]:
        """The members that are not the primary."""
        primary = await self.primary()
        return [member for member in self.members if member is not primary]

    async def kill_primary(self) -> Member:
        """SIGKILL the primary; answers which one it was."""
        member = await self.primary()
        await member.kill()
        return member

    async def restart(self, member: Member) -> None:
        """Start a killed member again; `healthy` waits for it."""
        await member.forget()
        await member.start()

    def stop(self, member: Member) -> None:
        """Hang a member."""
        member.stop()

    def cont(self, member: Member) -> None:
        """Let a hung member go on."""
        member.cont()

    async def healthy(self) -> None:
        """Return when one more fault can be borne.

        Every member itself says that it is PRIMARY or SECONDARY, sees the others so, and has what the primary has:
        until then a member may vote yes and yet be unable to store its vote.
        """
        await _until(self._is_healthy, _HEALTH_SECONDS, self._report)

    async def __aenter__(self) -> Self:
        try:
            for member in self.members:
                self._stack.push_async_callback(member.forget)
                self._stack.push_async_callback(member.kill)
                await member.start()
            for member in self.members:
                await _until(lambda each=member: _answers(each), _START_SECONDS, self._report)  # type: ignore[misc]
            await self._initiate()
            await self.healthy()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _initiate(self) -> None:
        config = {
            "_id": NAME,
            "members": [{"_id": number, "host": member.host} for number, member in enumerate(self.members)],
            "settings": {"electionTimeoutMillis": ELECTION_TIMEOUT},
        }
        await self.members[0].command("replSetInitiate", config)
        for member in self.members:
            await member.forget()

    async def _find_primary(self) -> Member | None:
        for member in self.members:
            hello = await _ask(member, "hello")
            if hello.get("isWritablePrimary"):
                return member
        return None

    async def _is_healthy(self) -> bool:
        statuses = [await _ask(member, "replSetGetStatus") for member in self.members]
        if sorted(status.get("myState", 0) for status in statuses) != [_PRIMARY, *[_SECONDARY] * (MEMBERS - 1)]:
            return False
        if any(not _sees_everyone(status) for status in statuses):
            return False
        newest = max(_stored_at(status) for status in statuses)
        return await self._have_all_stored(newest)

    async def _have_all_stored(self, newest: Any) -> bool:
        """Whether every member has by now what one of them had a moment ago."""
        statuses = [await _ask(member, "replSetGetStatus") for member in self.members]
        return all("optimes" in status and _stored_at(status) >= newest for status in statuses)

    def _report(self) -> str:
        return "\n".join(f"--- {member.host}\n{member.log[-3000:]}" for member in self.members)


def _stored_at(status: Status) -> Any:
    """Up to where a member has the oplog on disk: its term and time."""
    optime = status["optimes"]["durableOpTime"]
    return optime["t"], optime["ts"]


def _sees_everyone(status: Status) -> bool:
    return all(each["health"] == 1 and each["state"] in {_PRIMARY, _SECONDARY} for each in status["members"])


async def _ask(member: Member, command: str) -> Status:
    """What a member says of itself; nothing while it does not answer."""
    try:
        return await member.command(command)
    except PyMongoError:
        return {}


async def _answers(member: Member) -> bool:
    if member.process.returncode is not None:
        raise AssertionError(f"mongod ended with exit status {member.process.returncode}: {member.log}")
    return bool(await _ask(member, "hello"))


async def _until(condition: Callable[[], Awaitable[T | None]], seconds: float, report: Callable[[], str]) -> T:
    """What `condition` answers once that is true: other processes raise no event here."""
    try:
        async with asyncio.timeout(seconds):
            while not (answer := await condition()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"The replica set did not get there within {seconds:g} s.\n{report()}") from None
    return answer


def _free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody uses; all are held until the last one is found, so they differ."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
