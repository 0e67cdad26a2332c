"""A replica set of three real members on loopback that can be killed, hung and brought back one by one.

async with ReplicaSet(folder, find_mongod(None)) as replica_set:
    client = AsyncMongoClient(replica_set.admin_uri)
    killed = await replica_set.kill_primary()
    await replica_set.restart(killed)
    await replica_set.healthy()

It is the one of `verbatim replica-set`. Every wait is bounded. Members are ended by their own process ids, and the
kernel ends them with the tests.
"""

import signal
from pathlib import Path
from typing import Self

from app.mongod.initiation import ELECTION_TIMEOUT
from app.mongod.local_set import LocalReplicaSet, until
from app.mongod.member import Member

__all__ = ["ELECTION_TIMEOUT", "Member", "ReplicaSet"]

MEMBERS = 3
_HEALTH_SECONDS = 180.0  # a killed primary may roll back first, which once took 157 s


class ReplicaSet(LocalReplicaSet):
    """Three members; healthy when the block is entered."""

    def __init__(self, folder: Path, mongod: Path) -> None:
        super().__init__(folder, mongod, MEMBERS)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        await self.healthy()
        return self

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
        """SIGSTOP: it stays connected and says nothing."""
        member.process.send_signal(signal.SIGSTOP)

    def cont(self, member: Member) -> None:
        """SIGCONT: let a hung member go on."""
        member.process.send_signal(signal.SIGCONT)

    async def healthy(self) -> None:
        """Return when one more fault can be borne."""
        try:
            await until(self.is_healthy, _HEALTH_SECONDS)
        except TimeoutError:
            logs = "\n".join(f"--- {member.host}\n{member.log[-3000:]}" for member in self.members)
            raise AssertionError(f"The replica set did not recover within {_HEALTH_SECONDS:g} s.\n{logs}") from None
