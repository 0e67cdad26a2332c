"""A replica set of several members on loopback, with a key file and authentication: what a deployment has, for one
machine and one terminal. Its folder keeps addresses and secrets, so that it comes back as it was.

The folder: `replica-set.json` (ports and passwords), `key` (both readable by their owner alone), `lock`, a folder a
member, and `tls` (certificates) once it was asked for.
"""

import asyncio
import base64
import json
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from pymongo.errors import PyMongoError

from app.mongod.certificates import make_certificates
from app.mongod.failures import MongodUnavailable
from app.mongod.folder import FileLock
from app.mongod.initiation import ADMIN, APPLICATION, Plan, initiate
from app.mongod.member import Member, MemberOptions
from app.mongod.replica_set import REPLICA_SET

MAX_MEMBERS = 7
"""As many as may vote."""
_KEY_BYTES = 756
_START_SECONDS = 60.0
_ELECTION_SECONDS = 60.0
_STOP_SECONDS = 30.0
_PRIMARY, _SECONDARY = 1, 2
_DATABASE = "verbatim"
_ADDRESS = "127.0.0.1"

Status = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Facts:
    """What has to stay the same from start to start."""

    ports: list[int]
    admin_password: str
    application_password: str


class LocalReplicaSet:
    """An asynchronous context manager: inside the block there is a primary, and `uri` is for clients."""

    def __init__(self, folder: Path, mongod: Path, members: int, *, tls: bool = False) -> None:
        """`members`: 1 to 7, for a new folder; one that is used already keeps its number. `tls`: for this time.

        Raises MongodUnavailable; Invalid for certificates that cannot be used.
        """
        self.folder = folder.expanduser().resolve()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / "lock")
        self._facts = _facts(self.folder, members)
        self._tls = make_certificates(self.folder / "tls", [_ADDRESS]) if tls else None
        options = MemberOptions(REPLICA_SET, key_file=self.folder / "key", tls=self._tls)
        self.members = [Member(mongod, self.folder / f"member-{port}", port, options) for port in self._facts.ports]
        self.hosts = [member.host for member in self.members]
        """Where members and clients reach them, in the same order. Change it before the block is entered, in a new
        folder, when something stands in front of them: nothing that uses these addresses then goes past it."""
        self._stack = AsyncExitStack()

    @property
    def uri(self) -> str:
        """For the application: least privilege."""
        return self._uri(APPLICATION, self._facts.application_password)

    @property
    def admin_uri(self) -> str:
        return self._uri(ADMIN, self._facts.admin_password)

    def _uri(self, user: str, password: str) -> str:
        tls = "" if self._tls is None else f"&tls=true&tlsCAFile={quote(str(self._tls.authority))}"
        return f"mongodb://{user}:{password}@{','.join(self.hosts)}/?replicaSet={REPLICA_SET}&authSource=admin{tls}"

    async def __aenter__(self) -> Self:
        if not self._lock.take():
            raise MongodUnavailable(f"The replica set in {self.folder} runs already; its URI is known there.")
        try:
            for member in self.members:
                self._stack.push_async_callback(member.forget)
                self._stack.push_async_callback(member.terminate, _STOP_SECONDS)
                await member.start()
            for member in self.members:
                await until(lambda each=member: answers(each), _START_SECONDS)  # type: ignore[misc]
            await self._initiate()
        except TimeoutError as error:
            await self._stack.aclose()
            logs = self.folder / "member-*" / "mongod.log"
            raise MongodUnavailable(f"The members did not become a replica set in time; see {logs}") from error
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        self._lock.close()

    async def primary(self) -> Member:
        """The member that says of itself that it is a writable primary, once there is one; raises TimeoutError."""
        return await until(self._find_primary, _ELECTION_SECONDS)

    async def is_healthy(self) -> bool:
        """Whether one more fault can be borne: every member itself says that it is PRIMARY or SECONDARY, sees the
        others so, and has what one of them has; until then a member may vote yes and yet be unable to store its vote.
        """
        statuses = [await ask(member, "replSetGetStatus") for member in self.members]
        states = [_PRIMARY, *[_SECONDARY] * (len(self.members) - 1)]
        if sorted(status.get("myState", 0) for status in statuses) != states:
            return False
        if any(not _sees_everyone(status) for status in statuses):
            return False
        newest = max(_stored_at(status) for status in statuses)
        later = [await ask(member, "replSetGetStatus") for member in self.members]
        return all("optimes" in status and _stored_at(status) >= newest for status in later)

    async def supervise(self, say: Callable[[str], None]) -> None:
        """Start members that end again, one second later, until cancelled; `say` hears of it."""
        async with asyncio.TaskGroup() as tasks:
            for member in self.members:
                tasks.create_task(_keep(member, say))

    async def _initiate(self) -> None:
        """Make the set and its users where they are missing."""
        plan = Plan(
            REPLICA_SET,
            self.hosts,
            self._facts.admin_password,
            self._facts.application_password,
            _DATABASE,
            None if self._tls is None else self._tls.authority,
        )
        await asyncio.to_thread(initiate, self.members[0].host, plan, seconds=_ELECTION_SECONDS)
        for member in self.members:
            await member.forget()
            member.credentials = plan.admin

    async def _find_primary(self) -> Member | None:
        for member in self.members:
            if (await ask(member, "hello")).get("isWritablePrimary"):
                return member
        return None


async def _keep(member: Member, say: Callable[[str], None]) -> None:
    while True:
        status = await member.process.wait()
        say(f"{member.host} ended with exit status {status} and is started again.")
        await member.forget()
        await asyncio.sleep(1)
        await member.start()


async def answers(member: Member) -> bool:
    """Whether a member that was started can be asked; raises MongodUnavailable when it ended."""
    if member.process.returncode is not None:
        raise MongodUnavailable(member.diagnose())
    return bool(await ask(member, "hello"))


async def ask(member: Member, command: str) -> Status:
    """What a member says of itself; nothing while it does not answer."""
    try:
        return await member.command(command)
    except PyMongoError:
        return {}


async def until(condition: Callable[[], Awaitable[T | None]], seconds: float) -> T:
    """What `condition` answers once that is true: other processes raise no event here. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not (answer := await condition()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return answer


def _stored_at(status: Status) -> Any:
    """Up to where a member has the oplog on disk: its term and time."""
    optime = status["optimes"]["durableOpTime"]
    return optime["t"], optime["ts"]


def _sees_everyone(status: Status) -> bool:
    return all(each["health"] == 1 and each["state"] in {_PRIMARY, _SECONDARY} for each in status["members"])


def _facts(folder: Path, members: int) -> Facts:
    """Those of the folder; new ones with a key for a new folder. Raises MongodUnavailable."""
    file = folder / "replica-set.json"
    if not file.exists():
        return _new_facts(folder, file, members)
    try:
        return Facts(**json.loads(file.read_bytes()))
    except (ValueError, TypeError) as error:
        raise MongodUnavailable(f"{file} is damaged: remove the folder {folder} to begin anew.") from error


def _new_facts(folder: Path, file: Path, members: int) -> Facts:
    if not 1 <= members <= MAX_MEMBERS:
        raise MongodUnavailable(f"A replica set has 1 to {MAX_MEMBERS} members here, not {members}.")
    facts = Facts(_free_ports(members), secrets.token_urlsafe(24), secrets.token_urlsafe(24))
    _write_private(folder / "key", base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode())
    _write_private(file, json.dumps(asdict(facts)))
    return facts


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody uses; all are held until the last one is found, so they differ."""
    probes = [socket.create_server((_ADDRESS, 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
