"""Each member of the replica set, asked itself: what it is, how far behind, whether its clock is right, its disk full.

What a member says of itself (`hello`) needs no privilege, and the size of its disk those of the application's user.
"""

import asyncio
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pymongo
from pymongo import AsyncMongoClient
from pymongo.asynchronous.uri_parser import parse_uri
from pymongo.errors import OperationFailure, PyMongoError

from app.cli.checks.finding import Finding
from app.config import Settings
from app.kit.clock import now
from app.services import Services

FREE_BYTES = 1024**3
CLOCK_SECONDS = 2.0
LAG_SECONDS = 10.0
OPLOG_HOURS = 24.0
"""For so long a member may be away, or webhooks' servers stopped, without losing its place."""
_LEAST_OPLOG_HOURS = 1.0
_MEMBER_SECONDS = 5.0
_FULL = 0.9
_UNAUTHORIZED = 13
_KEPT_OPTIONS = ("tls", "auth", "ssl")

Judgement = Callable[[Sequence["Member"]], Finding]
Client = AsyncMongoClient[dict[str, Any]]


@dataclass(frozen=True)
class Member:
    """`written_at`: of its last write, in UTC. `skew`: by how many seconds its clock is ahead of ours; `fault`: why it
    cannot be asked."""

    address: str
    state: str = "unreachable"
    version: str = ""
    written_at: datetime | None = None
    skew: float = 0.0
    free: int | None = None
    fault: str = ""


async def look_at_members(services: Services) -> list[Member]:
    """All members, asked at the same time; a sharded cluster's routers in their place."""
    client = services.database.client
    addresses = [address for address in client.topology_description.server_descriptions() if address[1] is not None]
    if len(addresses) < 2:
        return [await _look(client, "the database", services.settings.database)]
    settings = services.settings
    return list(await asyncio.gather(*(_look_at(settings, f"{host}:{port}") for host, port in sorted(addresses))))


async def _look_at(settings: Settings, address: str) -> Member:
    async with AsyncMongoClient[dict[str, Any]](f"mongodb://{address}", **await _options(settings)) as client:
        return await _look(client, address, settings.database)


async def _options(settings: Settings) -> dict[str, Any]:
    """How to talk to one member: as to all of them."""
    assert settings.mongo_uri is not None  # noqa: S101 the embedded MongoDB has one member
    uri = await parse_uri(settings.mongo_uri.get_secret_value())
    kept = {name: value for name, value in uri["options"].items() if name.lower().startswith(_KEPT_OPTIONS)}
    password = settings.mongo_password
    login = {
        "username": settings.mongo_user or uri["username"],
        "password": password.get_secret_value() if settings.mongo_user and password else uri["password"],
    }
    milliseconds = int(_MEMBER_SECONDS * 1000)
    return {
        **kept,
        **(login if login["username"] else {}),
        "directConnection": True,
        "serverSelectionTimeoutMS": milliseconds,
        "connectTimeoutMS": milliseconds,
    }


async def _look(client: Client, address: str, database: str) -> Member:
    try:
        with pymongo.timeout(2 * _MEMBER_SECONDS):
            await client.admin.command("hello")  # connects, which takes its time
            asked_at = now()
            hello = await client.admin.command("hello")
            answered_at = now()
            build = await client.admin.command("buildInfo")
            free = await _free(client, database)
    except PyMongoError as error:
        return Member(address, fault=type(error).__name__)
    return Member(
        address,
        _state(hello),
        build["version"],
        hello.get("lastWrite", {}).get("lastWriteDate"),
        (hello["localTime"].replace(tzinfo=UTC) - (asked_at + (answered_at - asked_at) / 2)).total_seconds(),
        free,
    )


async def _free(client: Client, database: str) -> int | None:
    """Bytes that are free on its disk; None where it does not say."""
    try:
        stats = await client[database].command("dbStats")
    except OperationFailure:
        return None
    total, used = stats.get("fsTotalSize"), stats.get("fsUsedSize")
    return int(total - used) if total and used is not None else None


def _state(hello: dict[str, Any]) -> str:
    if hello.get("isWritablePrimary"):
        return "primary"
    states = {"secondary": "secondary", "arbiterOnly": "arbiter"}
    return next((state for field, state in states.items() if hello.get(field)), "neither primary nor secondary")


def replication(members: Sequence[Member]) -> Finding:
    faults = [f"{each.address} is {each.state}{_because(each)}" for each in members if each.state not in _SOUND]
    primary = next((each for each in members if each.state == "primary"), None)
    lags = {each.address: _lag(primary, each) for each in members if each.state == "secondary"}
    faults += [f"{address} is {lag:.0f} s behind" for address, lag in lags.items() if lag > LAG_SECONDS]
    if faults:
        return Finding(False, f"{'; '.join(faults)}: see its log, its disk and its network")
    if len(members) == 1:
        return Finding(True, "there is one member: what its disk loses is lost, so keep backups")
    told = ", ".join(f"{address} {lag:.0f} s behind" for address, lag in lags.items())
    return Finding(True, f"{primary.address if primary else 'nobody'} is primary; {told}")


_SOUND = frozenset({"primary", "secondary", "arbiter"})


def _because(member: Member) -> str:
    return f" ({member.fault})" if member.fault else ""


def _lag(primary: Member | None, member: Member) -> float:
    if primary is None or primary.written_at is None or member.written_at is None:
        return 0.0
    return max(0.0, (primary.written_at - member.written_at).total_seconds())


def clocks(members: Sequence[Member]) -> Finding:
    reached = [each for each in members if not each.fault]
    faults = [f"{each.address} by {each.skew:+.1f} s" for each in reached if abs(each.skew) >= CLOCK_SECONDS]
    if faults:
        return Finding(False, f"differs from this machine's: {', '.join(faults)}; synchronize them (NTP)")
    most = max((abs(each.skew) for each in reached), default=0.0)
    return Finding(True, f"differs by {most:.1f} s at most; synchronize clocks above {CLOCK_SECONDS:g} s")


def disks(members: Sequence[Member]) -> Finding:
    known = {each.address: each.free for each in members if each.free is not None}
    if not known:
        return Finding(True, "the members do not say how much is free")
    told = ", ".join(f"{free / FREE_BYTES:.1f} GiB free for {address}" for address, free in known.items())
    return Finding(min(known.values()) >= FREE_BYTES, f"{told}; at least 1 GiB should be")


def versions(members: Sequence[Member]) -> Finding:
    found = sorted({each.version for each in members if each.version})
    series = {version.rpartition(".")[0] for version in found}
    told = f"MongoDB {', '.join(found)}; PyMongo {pymongo.version}; Python {platform.python_version()}"
    if len(series) > 1:
        return Finding(False, f"{told}: bring all members of the set to one version")
    ended = [each for each in sorted(series) if each in _ENDS and _ENDS[each] < now().date()]
    if ended:
        return Finding(True, f"{told}; MongoDB {ended[0]} gets no more fixes since {_ENDS[ended[0]]:%B %Y}: upgrade it")
    return Finding(True, told)


_ENDS = {"6.0": date(2025, 7, 31)}
"""Until when MongoDB's makers have mended a version."""


async def oplog(services: Services) -> Finding:
    """How far the log reaches back, which only some users may see."""
    log = services.database.client["local"]["oplog.rs"]
    try:
        with pymongo.timeout(_MEMBER_SECONDS):
            first = await log.find_one({}, {"ts": 1}, sort=[("$natural", 1)])
            last = await log.find_one({}, {"ts": 1}, sort=[("$natural", -1)])
            stats = await services.database.client["local"].command("collStats", "oplog.rs")
    except OperationFailure as error:
        if error.code != _UNAUTHORIZED:
            raise
        advice = f"an admin sees it (rs.printReplicationInfo()); it should reach back {OPLOG_HOURS:g} hours"
        return Finding(True, f"this user may not see it; {advice}")
    hours = (last["ts"].time - first["ts"].time) / 3600 if first and last else 0.0
    told = f"reaches back {hours:.1f} hours; {OPLOG_HOURS:g} are good"
    if stats["size"] < _FULL * stats["maxSize"]:
        return Finding(True, f"{told}; it is not full yet")
    return Finding(
        hours >= _LEAST_OPLOG_HOURS,
        told if hours >= OPLOG_HOURS else f"{told}: make it larger (replSetResizeOplog), or webhooks may miss events",
    )
