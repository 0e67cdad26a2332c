"""Wires carry bytes, and cut exactly those whom they shall cut."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chaos.network import EVERYBODY, Network

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="who has opened a connection is read from /proc")

ME = {os.getpid(): "me"}
SILENCE = 0.2


@asynccontextmanager
async def echoes() -> AsyncIterator[int]:
    """A server that says everything again; answers its port."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


class Caller:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def call(cls, address: str) -> "Caller":
        host, port = address.split(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def hears(self, word: bytes) -> bytes:
        """What comes back for a word; nothing when there is silence."""
        self.writer.write(word)
        return await self.listens(len(word))

    async def listens(self, count: int) -> bytes:
        try:
            async with asyncio.timeout(SILENCE):
                return await self.reader.readexactly(count)
        except TimeoutError:
            return b""


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with Network() as ready:
        yield ready


async def test_what_is_cut_is_silent_and_nothing_is_lost_when_it_heals(network: Network) -> None:
    async with echoes() as port:
        [address] = await network.open([port])
        await network.name(ME)
        before = await Caller.call(address)
        assert await before.hears(b"one") == b"one"

        await network.cut(("me", 0))
        meanwhile = await Caller.call(address)
        assert (await before.hears(b"two"), await meanwhile.hears(b"three")) == (b"", b"")

        await network.heal()
        assert (await before.reader.readexactly(3), await meanwhile.reader.readexactly(5)) == (b"two", b"three")
        for caller in (before, meanwhile):
            caller.writer.close()


async def test_only_the_pair_that_is_named_is_cut(network: Network) -> None:
    async with echoes() as one, echoes() as other:
        addresses = await network.open([one, other])
        callers = [await Caller.call(address) for address in addresses]
        await network.cut(("me", 0))
        assert [await caller.hears(b"x") for caller in callers] == [b"x", b"x"]  # nobody knows who they are

        await network.name(ME)
        assert [await caller.hears(b"x") for caller in callers] == [b"", b"x"]
        await network.cut(("somebody else", 0), (EVERYBODY, 1))
        assert await callers[0].listens(1) == b"x"
        assert await callers[1].hears(b"x") == b""
        for caller in callers:
            caller.writer.close()


async def test_much_goes_through_and_an_end_is_passed_on(network: Network) -> None:
    async with echoes() as port:
        [address] = await network.open([port])
        caller = await Caller.call(address)
        data = os.urandom(3_000_000)
        caller.writer.write(data)
        assert await caller.reader.readexactly(len(data)) == data
        caller.writer.write_eof()
        assert await caller.reader.read() == b""
        caller.writer.close()


async def test_where_nobody_listens_the_caller_is_told(network: Network) -> None:
    async with echoes() as port:
        [address] = await network.open([port])
    caller = await Caller.call(address)
    assert await caller.reader.read() == b""
    caller.writer.close()
