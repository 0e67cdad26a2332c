"""What faults are done to: three members behind wires, two servers, and the upstream they ask.

async with staged(folder, hold=1.0, seed=7) as stage:
    killed = await stage.members.kill_primary()
    await stage.restart(killed)
    await stage.recovered()
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient

from app.database import CLIENT_OPTIONS
from app.mongod import find_mongod
from chaos.network import EVERYBODY, Network, Pair
from chaos.servers import Servers
from tests.faults.audit import Stored
from tests.faults.nursery import Nursery
from tests.faults.replica_set import Member, ReplicaSet
from tests.faults.stories import tell
from tests.upstream import Upstream

DATABASE = "verbatim"
SERVERS = "ab"
WORD_SECONDS = 0.05


@dataclass
class Stage:
    """`hold`: how long what is to last does, as a share of the usual time. `marks`: what happened when, in monotonic
    seconds, during the fault that goes on."""

    members: ReplicaSet
    network: Network
    servers: Servers
    upstream: Upstream
    rng: random.Random
    hold: float
    marks: dict[str, float] = field(default_factory=dict)

    async def last(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self.hold)

    def mark(self, name: str) -> None:
        self.marks[name] = time.monotonic()

    def number(self, member: Member) -> int:
        return self.members.members.index(member)

    def pairs(self, one: Member, *others: Member) -> Sequence[Pair]:
        """This one and the others do not reach each other."""
        here, numbers = self.number(one), [self.number(other) for other in others]
        return [pair for there in numbers for pair in ((f"member {here}", there), (f"member {there}", here))]

    @asynccontextmanager
    async def cut(self, *pairs: Pair) -> AsyncIterator[None]:
        """Let these pairs not reach each other until the block ends."""
        await self.network.cut(*pairs)
        try:
            yield
        finally:
            await self.network.heal()

    def alone(self, member: Member) -> Sequence[Pair]:
        """Nobody reaches this one, and it reaches nobody."""
        others = [each for each in self.members.members if each is not member]
        return [(EVERYBODY, self.number(member)), *self.pairs(member, *others)]

    async def restart(self, member: Member) -> None:
        """Start a member that has ended."""
        await self.members.restart(member)
        await self.introduce()

    async def start_server(self, name: str) -> None:
        await self.servers.start(name)
        await self.introduce()

    async def introduce(self) -> None:
        """Tell the network which process is who."""
        members = {member.process.pid: f"member {number}" for number, member in enumerate(self.members.members)}
        await self.network.name({**members, **self.servers.processes})

    async def recovered(self) -> None:
        """Return when one more fault can be borne: by what each member says of itself, and each server."""
        await self.members.healthy()
        await self.servers.ready()

    async def quiet(self) -> None:
        """Stop the servers in order: they still do what clients have given up."""
        async with asyncio.TaskGroup() as stops:
            for name in SERVERS:
                stops.create_task(self.servers.stop(name))

    async def stored(self) -> Stored:
        """All that a majority has, when it is quiet."""
        async with AsyncMongoClient[dict[str, Any]](self.members.admin_uri, **CLIENT_OPTIONS) as client:
            return await Stored.read(client[DATABASE])


@asynccontextmanager
async def staged(folder: Path, *, hold: float, seed: int, **settings: Any) -> AsyncIterator[Stage]:
    """The stage, ready; `settings` of both servers."""
    mongod = await asyncio.to_thread(find_mongod, None)
    async with Network() as network, Nursery() as nursery, Upstream() as upstream:
        members = ReplicaSet(folder / "members", mongod)
        members.hosts = await network.open([int(member.host.rpartition(":")[2]) for member in members.members])
        upstream.script["story"] = tell(pause=WORD_SECONDS)
        async with members, Servers(nursery, folder, SERVERS, **_settings(members, upstream, settings)) as servers:
            stage = Stage(members, network, servers, upstream, random.Random(seed), hold)
            await stage.introduce()
            yield stage


def _settings(members: ReplicaSet, upstream: Upstream, settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "mongo_uri": members.uri,
        "database": DATABASE,
        "llm_providers": {"local": {"base_url": upstream.base_url}},
        "history_max_messages": 1,  # the last one says what to answer
        "log_level": "warning",
        "drain_timeout": 20,  # longer than an answer takes
        **settings,
    }
