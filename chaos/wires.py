"""TCP proxies on loopback that can be cut, to be run as a process of its own: `python -m chaos.wires PORT...`.

One proxy for each port of the command line; the first line of its output is JSON, the proxies' ports in the same order.
Each further line of its input is a command in JSON and is answered by a line:

    {"names": {"4711": "member 0"}}                    which process is who; others are called "client"
    {"cuts": [["member 0", "member 1"], ["*", 2]]}      who does not reach the proxy of which number

A cut is what a network does that loses packets: nothing is refused or closed, no byte passes either way, new
connections are taken and stay silent; when it heals what was held back goes on. So a cut of a pair of members is two
entries. Who has opened a connection is read from /proc (Linux): members all come from one address.
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import uvloop

CLIENT, EVERYBODY = "client", "*"
_BACKLOG = 1024


@dataclass
class _Wires:
    """What all proxies share. `names`: by process id; `cuts`: pairs of a name and the number of a proxy."""

    names: dict[int, str] = field(default_factory=dict)
    cuts: set[tuple[str, int]] = field(default_factory=set)
    open: "set[_Wire]" = field(default_factory=set)

    def obey(self, command: dict[str, object]) -> None:
        if "names" in command:
            self.names = {int(pid): name for pid, name in cast("dict[str, str]", command["names"]).items()}
        if "cuts" in command:
            self.cuts = {(name, number) for name, number in cast("list[tuple[str, int]]", command["cuts"])}
        for wire in list(self.open):
            wire.look_again()

    def is_cut(self, name: str, number: int) -> bool:
        return (name, number) in self.cuts or (EVERYBODY, number) in self.cuts


class _Wire:
    """One connection through a proxy: the side that has opened it, and the side of the server behind it."""

    def __init__(self, wires: _Wires, number: int, port: int) -> None:
        self._wires, self._number, self._port = wires, number, port
        self._inode = 0
        self.name = CLIENT
        self._is_cut = self._is_connecting = self._is_over = False
        self.near, self.far = _Side(self), _Side(self)
        self.near.other, self.far.other = self.far, self.near

    def opened(self) -> None:
        assert self.near.transport is not None
        peer, own = (self.near.transport.get_extra_info(name) for name in ("peername", "sockname"))
        self._inode = _inode(peer[1], own[1])
        self._wires.open.add(self)
        self.look_again()
        if not self._is_cut:
            self._connect()

    def look_again(self) -> None:
        """Find out who is there, and hold or let go."""
        if self.name == CLIENT:
            self.name = next((name for pid, name in self._wires.names.items() if _owns(pid, self._inode)), CLIENT)
        is_cut = self._wires.is_cut(self.name, self._number)
        if is_cut == self._is_cut:
            return
        self._is_cut = is_cut
        for side in (self.near, self.far):
            side.hold(is_cut)
        if not is_cut and self.far.transport is None:
            self._connect()

    def _connect(self) -> None:
        if not self._is_connecting:
            self._is_connecting = True
            self._task = asyncio.get_running_loop().create_task(self._reach())

    async def _reach(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.far, "127.0.0.1", self._port)
        except OSError:
            self.close()  # nobody listens: the one who has connected is told by a reset

    def joined(self) -> None:
        """The server behind it is there; perhaps the other side has left meanwhile, or was cut off."""
        if self._is_over:
            self.close()
            return
        self.far.hold(self._is_cut)
        assert self.far.transport is not None
        self.far.transport.write(self.near.release())

    def close(self) -> None:
        self._is_over = True
        self._wires.open.discard(self)
        for side in (self.near, self.far):
            if side.transport is not None:
                side.transport.abort()


class _Side(asyncio.Protocol):
    """One end of a wire; holds what comes before the other end is there."""

    other: "_Side"
    transport: asyncio.Transport | None = None

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire
        self._early = b""
        self._reasons: set[str] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self is self._wire.near:
            self._wire.opened()
            return
        self._wire.joined()

    def release(self) -> bytes:
        early, self._early = self._early, b""
        return early

    def data_received(self, data: bytes) -> None:
        if self.other.transport is None:
            self._early += data
        else:
            self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's signature
        self._wire.close()

    def pause_writing(self) -> None:
        self.other.pause("full", is_on=True)

    def resume_writing(self) -> None:
        self.other.pause("full", is_on=False)

    def hold(self, is_on: bool) -> None:
        self.pause("cut", is_on=is_on)

    def pause(self, reason: str, *, is_on: bool) -> None:
        """Read on only when there is no reason left not to."""
        (self._reasons.add if is_on else self._reasons.discard)(reason)
        self._settle()

    def _settle(self) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if self._reasons and self.transport.is_reading():
            self.transport.pause_reading()
        elif not self._reasons and not self.transport.is_reading():
            self.transport.resume_reading()


def _inode(local: int, remote: int) -> int:
    """The socket of loopback that has these two ports; 0 when it is gone."""
    ports = f":{local:04X}", f":{remote:04X}"
    with Path("/proc/net/tcp").open(encoding="ascii") as lines:
        for line in lines:
            fields = line.split()
            if fields[1].endswith(ports[0]) and fields[2].endswith(ports[1]):
                return int(fields[9])
    return 0


def _owns(pid: int, inode: int) -> bool:
    wanted = f"socket:[{inode}]"
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError), os.scandir(f"/proc/{pid}/fd") as entries:
        return any(_target(entry) == wanted for entry in entries)
    return False


def _target(entry: os.DirEntry[str]) -> str:
    with suppress(FileNotFoundError, ProcessLookupError):
        return str(Path(entry.path).readlink())
    return ""


def _factory(wires: _Wires, number: int, port: int) -> Callable[[], _Side]:
    return lambda: _Wire(wires, number, port).near


async def _serve(ports: list[int]) -> None:
    loop, wires, commands = asyncio.get_running_loop(), _Wires(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    servers = [
        await loop.create_server(_factory(wires, number, port), "127.0.0.1", 0, backlog=_BACKLOG)
        for number, port in enumerate(ports)
    ]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    async for line in commands:
        wires.obey(json.loads(line))
        print("done", flush=True)


if __name__ == "__main__":
    uvloop.run(_serve([int(port) for port in sys.argv[1:]]))
