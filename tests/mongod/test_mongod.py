"""The embedded MongoDB, started, shared, moved and killed for real."""

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psutil
import pytest
from pymongo import AsyncMongoClient

from app.mongod import EmbeddedMongod
from app.mongod.folder import DataFolder

from .processes import User, end, find_keeper, find_mongod_process, until, was_clean

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

Client = AsyncMongoClient[dict[str, Any]]


@asynccontextmanager
async def connected(uri: str) -> AsyncIterator[Client]:
    """A client as patient as a restart takes.

    A mongod that shuts down in order closes its socket about a second before the connection over which the driver
    watches it. Meanwhile the driver takes a refused connection for overload and repeats the operation twice by default.
    """
    patience: dict[str, Any] = {"timeoutMS": 20_000, "max_adaptive_retries": 8}
    async with Client(uri, connectTimeoutMS=2000, heartbeatFrequencyMS=1000, **patience) as client:
        yield client


def socket_of(uri: str) -> Path:
    return Path(unquote(uri.removeprefix("mongodb://").partition("/?")[0]))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class Load:
    """Writers in a loop; what was acknowledged must be stored, and nothing may fail."""

    def __init__(self, client: Client, writers: int = 4) -> None:
        self._collection = client.test.load
        self._writers = writers
        self.acknowledged: list[str] = []
        self.longest_stall = 0.0
        self._is_over = False

    async def _write(self, writer: int) -> None:
        for number in count():
            if self._is_over:
                return
            started = time.monotonic()
            await self._collection.insert_one({"_id": f"{writer}-{number}"})
            self.longest_stall = max(self.longest_stall, time.monotonic() - started)
            self.acknowledged.append(f"{writer}-{number}")

    async def grow(self, by: int) -> None:
        """Wait until so many more writes were acknowledged."""
        target = len(self.acknowledged) + by
        await until(lambda: len(self.acknowledged) >= target)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._writers):
                tasks.create_task(self._write(number))
            try:
                yield self
            finally:
                self._is_over = True

    async def missing(self) -> set[str]:
        stored = {row["_id"] async for row in self._collection.find(batch_size=10_000)}
        return set(self.acknowledged) - stored


async def test_two_processes_share_one_mongod_and_its_data_stays(data: Path, binary: Path) -> None:
    other = await User.start(data)
    embedded = EmbeddedMongod(data, binary)
    uri = await embedded.start()
    assert uri == other.uri
    shared = find_mongod_process(data)
    async with connected(uri) as client:
        await client.test.notes.insert_one({"_id": 1})
        assert await other.leave() == 0
        assert await client.test.notes.count_documents({}) == 1
    assert find_mongod_process(data) == shared
    await embedded.stop(wait=True)
    assert not shared.is_running()
    assert was_clean(data)
    async with EmbeddedMongod(data, binary) as uri, connected(uri) as client:
        assert find_mongod_process(data) != shared
        assert await client.test.notes.count_documents({}) == 1


async def test_processes_that_start_at_once_get_one_mongod(data: Path) -> None:
    users = await asyncio.gather(*(User.start(data) for _ in range(3)))
    assert len({user.uri for user in users}) == 1
    mongod = find_mongod_process(data)
    assert [child.pid for child in find_keeper(data).children()] == [mongod.pid]
    assert await asyncio.gather(*(user.leave() for user in users)) == [0, 0, 0]
    await end(mongod)
    assert was_clean(data)


async def test_a_user_who_comes_while_mongod_is_being_stopped_gets_a_new_one(data: Path, binary: Path) -> None:
    first = EmbeddedMongod(data, binary)
    await first.start()
    mongod = find_mongod_process(data)
    await first.stop()
    await until(lambda: "Received signal" in DataFolder(data).log.read_text())
    async with EmbeddedMongod(data, binary) as uri, connected(uri) as client:
        assert (await client.admin.command("ping"))["ok"] == 1
        assert find_mongod_process(data) != mongod


async def test_it_is_a_replica_set_that_only_its_owner_can_reach(data: Path, binary: Path) -> None:
    async with EmbeddedMongod(data, binary) as uri, connected(uri) as client:
        connections = find_mongod_process(data).net_connections(kind="all")
        listening = [each for each in connections if each.status == psutil.CONN_LISTEN]
        assert listening == []
        assert {each.laddr for each in connections if each.laddr} == {str(socket_of(uri))}
        assert [mode(socket_of(uri)), mode(data), mode(data / "db")] == [0o700] * 3
        async with client.start_session() as session, await session.start_transaction():
            await client.test.notes.insert_one({"_id": 1}, session=session)
        async with await client.test.notes.watch() as stream:
            await client.test.notes.insert_one({"_id": 2})
            assert (await stream.next())["documentKey"] == {"_id": 2}


async def test_a_killed_mongod_costs_its_writers_time_but_nothing_else(data: Path, binary: Path) -> None:
    async with EmbeddedMongod(data, binary) as uri, connected(uri) as client:
        async with Load(client).running() as load:
            for _ in range(2):
                await load.grow(500)
                killed = find_mongod_process(data)
                killed.kill()
                await load.grow(500)
                assert find_mongod_process(data) != killed
        assert await load.missing() == set()
    print(f"killed mongod twice: {len(load.acknowledged)} acknowledged, longest stall {load.longest_stall:.2f} s")


async def test_a_killed_keeper_is_replaced_while_a_user_lives(data: Path, binary: Path) -> None:
    async with EmbeddedMongod(data, binary) as uri, connected(uri) as client:
        async with Load(client).running() as load:
            await load.grow(200)
            keeper, mongod = find_keeper(data), find_mongod_process(data)
            keeper.kill()
            await end(mongod)
            assert was_clean(data)
            await load.grow(200)
        assert find_keeper(data) != keeper
        assert await load.missing() == set()
    print(f"killed the keeper: {len(load.acknowledged)} acknowledged, longest stall {load.longest_stall:.2f} s")


async def test_a_killed_keeper_without_users_leaves_nothing_and_can_be_followed(data: Path, binary: Path) -> None:
    user = await User.start(data)
    keeper, mongod = find_keeper(data), find_mongod_process(data)
    await user.kill()
    keeper.kill()
    await end(mongod)
    assert was_clean(data)
    async with EmbeddedMongod(data, binary) as uri, connected(uri) as client:
        assert (await client.admin.command("ping"))["ok"] == 1


async def test_killed_users_leave_no_orphan(data: Path) -> None:
    users = [await User.start(data), await User.start(data)]
    keeper, mongod = find_keeper(data), find_mongod_process(data)
    started = time.monotonic()
    for user in users:
        await user.kill()
    await end(mongod)
    print(f"killed all users: mongod was gone after {time.monotonic() - started:.2f} s")
    await end(keeper)
    assert was_clean(data)


async def test_the_signals_of_a_terminal_or_supervisor_do_not_take_it_from_its_users(data: Path, binary: Path) -> None:
    async with EmbeddedMongod(data, binary) as uri, connected(uri) as client:
        keeper, mongod = find_keeper(data), find_mongod_process(data)
        assert os.getsid(keeper.pid) != os.getsid(0)
        keeper.terminate()
        mongod.terminate()
        await end(mongod)
        await client.test.notes.insert_one({"_id": 1})
        assert find_keeper(data) == keeper
        assert find_mongod_process(data) != mongod


@pytest.mark.parametrize("name", ["deep-" * 30, "Upper, case: and more"])
async def test_a_path_that_cannot_be_an_address_gets_a_short_private_socket(
    data: Path, binary: Path, name: str
) -> None:
    folder = data / name
    user = await User.start(folder)
    place = socket_of(user.uri).parent
    assert folder not in place.parents
    assert mode(place) == 0o700
    async with EmbeddedMongod(folder, binary) as uri, connected(uri) as client:
        assert uri == user.uri
        first = find_mongod_process(folder)
        find_keeper(folder).kill()
        await end(first)  # until then it may still serve
        await client.test.notes.insert_one({"_id": 1})
        assert socket_of(uri).parent == place
        assert await user.leave() == 0
        mongod = find_mongod_process(folder)
        keeper = find_keeper(folder)
    await end(mongod)
    await end(keeper)
    assert not place.exists()


async def test_a_moved_data_folder_is_served_at_its_new_place(data: Path, binary: Path) -> None:
    before = EmbeddedMongod(data / "before", binary)
    async with connected(await before.start()) as client:
        await client.test.notes.insert_one({"_id": 1})
    await before.stop(wait=True)
    (data / "before").rename(data / "after")
    async with EmbeddedMongod(data / "after", binary) as uri, connected(uri) as client:
        assert socket_of(uri) == data / "after" / "mongod.sock"
        assert await client.test.notes.find_one() == {"_id": 1}
        mongod = find_mongod_process(data / "after")
    await end(mongod)
