"""The table of what is done to the stage. Each fault undoes itself; whoever inflicts it waits for the recovery.

`Fault.stall`: for how many seconds no write may be confirmed; None where a majority is away, or one more is lost than
the set can bear. Then requests may fail too, and the goal is how soon a write is confirmed when MongoDB is `back`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from app.mongod.local_set import ask
from chaos.stage import SERVERS, Stage
from tests.faults.replica_set import Member

STALL = RECOVERY = 5.0
BACK = "back"
"""The mark of the moment in which there is a writable primary again."""

_STOP_SECONDS = 30.0
_ANSWERING = frozenset((2, 3, 5, 9))
"""States of a member that has come back, more or less: SECONDARY, RECOVERING, STARTUP2, ROLLBACK."""


@dataclass(frozen=True)
class Fault:
    """`meaning` is its line in the report."""

    inflict: Callable[[Stage], Awaitable[None]]
    stall: float | None = STALL

    @property
    def meaning(self) -> str:
        return (self.inflict.__doc__ or "").partition("\n")[0].rstrip(".")

    @property
    def may_fail(self) -> bool:
        """Whether requests may fail."""
        return self.stall is None


async def _primary_killed(stage: Stage) -> None:
    """kill -9 of the primary; it is started again when there is another one."""
    killed = await stage.members.kill_primary()
    await stage.members.primary()
    await stage.restart(killed)


async def _primary_stepped_down(stage: Stage) -> None:
    """replSetStepDown."""
    primary = await stage.members.primary()
    await primary.command("replSetStepDown", 10, secondaryCatchUpPeriodSecs=5)


async def _members_restarted(stage: Stage) -> None:
    """SIGTERM and a new start of one member after the other, the primary last."""
    for member in [*await stage.members.secondaries(), await stage.members.primary()]:
        await member.terminate(_STOP_SECONDS)
        await stage.restart(member)
        await stage.members.healthy()


async def _primary_hung(stage: Stage) -> None:
    """SIGSTOP of the primary for 20 s."""
    primary = await stage.members.primary()
    stage.members.stop(primary)
    try:
        await stage.last(20)
    finally:
        stage.members.cont(primary)


async def _primary_isolated(stage: Stage) -> None:
    """The primary reaches nobody and nobody reaches it, for 15 s."""
    async with stage.cut(*stage.alone(await stage.members.primary())):
        await stage.last(15)


async def _primary_split_off(stage: Stage) -> None:
    """The primary is cut off from the members, and not from the servers, for 15 s."""
    primary, others = await stage.members.primary(), await stage.members.secondaries()
    async with stage.cut(*stage.pairs(primary, *others)):
        await stage.last(15)


async def _link_cut(stage: Stage) -> None:
    """The primary and one other member do not reach each other, for 10 s."""
    other = stage.rng.choice(await stage.members.secondaries())
    async with stage.cut(*stage.pairs(await stage.members.primary(), other)):
        await stage.last(10)


async def _server_cut_off(stage: Stage) -> None:
    """One server does not reach the primary, for 10 s."""
    primary = await stage.members.primary()
    async with stage.cut((stage.rng.choice(SERVERS), stage.number(primary))):
        await stage.last(10)


async def _majority_lost(stage: Stage) -> None:
    """kill -9 of two members, the primary stays alone for 30 s."""
    lost = await stage.members.secondaries()
    for member in lost:
        await member.kill()
    await stage.last(30)
    for member in lost:
        await stage.restart(member)
    await _back(stage)


async def _second_kill(stage: Stage) -> None:
    """kill -9 of a primary that has writes of its own, and of its successor while the first one rolls them back."""
    first, others = await stage.members.primary(), await stage.members.secondaries()
    async with stage.cut(*stage.pairs(first, *others)):
        await asyncio.sleep(1)  # writes that no majority has: it will have to roll them back
        await first.kill()
    second = await stage.members.primary()
    await stage.restart(first)
    await _until_it_comes_back(first)
    await second.kill()
    await stage.restart(second)
    await _back(stage)


async def _until_it_comes_back(member: Member) -> None:
    """Return as soon as it answers, which it does before it has caught up."""
    async with asyncio.timeout(60):
        while (await ask(member, "replSetGetStatus")).get("myState") not in _ANSWERING:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def _server_killed(stage: Stage) -> None:
    """kill -9 of a server in the middle of answers; it is started again after a second."""
    name = stage.rng.choice(SERVERS)
    await stage.servers.kill(name)
    await asyncio.sleep(1)
    await stage.start_server(name)


async def _server_hung(stage: Stage) -> None:
    """SIGSTOP of a server for 20 s."""
    name = stage.rng.choice(SERVERS)
    stage.servers.hang(name)
    try:
        await stage.last(20)
    finally:
        stage.servers.go_on(name)


async def _servers_upgraded(stage: Stage) -> None:
    """SIGTERM and a new start of one server after the other, under streams."""
    for name in SERVERS:
        await stage.servers.stop(name)
        await stage.start_server(name)
        await stage.servers.ready()


async def _outage(stage: Stage) -> None:
    """All members are killed, and away for 60 s."""
    for member in stage.members.members:
        await member.kill()
    await stage.last(60)
    for member in stage.members.members:
        await stage.restart(member)
    await _back(stage)


async def _back(stage: Stage) -> None:
    await stage.members.primary()
    stage.mark(BACK)


FAULTS: Mapping[str, Fault] = {
    "primary-killed": Fault(_primary_killed),
    "primary-stepped-down": Fault(_primary_stepped_down),
    "members-restarted": Fault(_members_restarted),
    "primary-hung": Fault(_primary_hung),
    "primary-isolated": Fault(_primary_isolated),
    "primary-split-off": Fault(_primary_split_off),
    "link-cut": Fault(_link_cut),
    "server-cut-off": Fault(_server_cut_off),
    "majority-lost": Fault(_majority_lost, stall=None),
    "second-kill": Fault(_second_kill, stall=None),
    "server-killed": Fault(_server_killed),
    "server-hung": Fault(_server_hung),
    "servers-upgraded": Fault(_servers_upgraded),
    "outage": Fault(_outage, stall=None),
}
