"""The wires between members, servers and clients, and what can be done to them.

async with Network() as network:
    addresses = await network.open([port, port, port])
    await network.name({pid: "member 0", ...})
    await network.cut(("member 0", 1), ("member 1", 0))
    await network.heal()
"""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from app.mongod.keeper import end_with_parent
from chaos.wires import EVERYBODY

__all__ = ["EVERYBODY", "Network", "Pair"]

Pair = tuple[str, int]
"""Who does not reach which member, by its number."""


class Network:
    """An asynchronous context manager: the process of the wires ends with the block."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._one_at_a_time = asyncio.Lock()

    async def open(self, ports: Sequence[int]) -> list[str]:
        """Put a wire in front of each port of loopback; answers their addresses. Call in the main thread."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chaos.wires", *map(str, ports)),
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,  # Ctrl-C in the terminal is for whoever started it
            preexec_fn=end_with_parent() if sys.platform == "linux" else None,
        )
        assert self._process.stdout is not None
        return [f"127.0.0.1:{port}" for port in json.loads(await self._process.stdout.readline())]

    async def name(self, names: Mapping[int, str]) -> None:
        """Say which process is who, instead of what was said before."""
        await self._order(names=names)

    async def cut(self, *pairs: Pair) -> None:
        """Lose every byte of these, and of no others."""
        await self._order(cuts=pairs)

    async def heal(self) -> None:
        await self.cut()

    async def _order(self, **command: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._one_at_a_time:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            answer = await self._process.stdout.readline()
        if answer != b"done\n":
            raise RuntimeError(f"the wires' process ended with {await self._process.wait()}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            if self._process.returncode is None:
                self._process.terminate()
            await self._process.communicate()
