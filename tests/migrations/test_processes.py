"""Real processes: several at once, killed, told to end; servers of two versions side by side."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from tests.migrations import shapes
from tests.migrations.conftest import NAME, Commands, ended
from tests.processes import ADMIN_KEY, Process, ServerProcess

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

Rows = AsyncDatabase[dict[str, Any]]
LATER_FIELDS = 4
TURNS = 20_000


class Watched:
    """The ledger's row of one migration, as it changes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.done: list[int] = []

    async def until_done(self, least: int) -> dict[str, Any]:
        """The row once so many turns are dealt with."""
        async with asyncio.timeout(90):
            async for change in self._stream:
                row: dict[str, Any] = change["fullDocument"] or {}
                if row.get("what") != "turns":
                    continue
                self.done.append(row["done"])
                if row["done"] >= least:
                    return row
        raise AssertionError("the stream ended")


@asynccontextmanager
async def watched(rows: Rows) -> AsyncIterator[Watched]:
    only = [{"$match": {"documentKey._id": LATER_FIELDS}}]
    async with await rows["migrations"].watch(only, full_document="updateLookup") as stream:
        yield Watched(stream)


async def unmigrated(rows: Rows) -> int:
    return await rows["turns"].count_documents({"total_ms": {"$exists": False}})


async def test_of_four_one_migrates_and_when_it_is_killed_another_goes_on(rows: Rows, commands: Commands) -> None:
    await shapes.store(rows, turns=TURNS)
    async with watched(rows) as watch:
        four = [await commands.start("migrate", seconds=0.03) for _ in range(4)]
        row = await watch.until_done(TURNS // 4)
        holder = int(row["holder"].split(":")[1])
        [killed] = [each for each in four if each.pid == holder]
        killed.kill()
        await ended(killed, -signal.SIGKILL)
        survivors = [await ended(each) for each in four if each is not killed]
        await watch.until_done(TURNS)

    assert watch.done == sorted(watch.done), "the heir did not go on where the dead one was"
    assert sum("4 (later_fields)" in each.splitlines()[-1] for each in survivors) == 1
    assert await unmigrated(rows) == 0
    runs = {row["_id"]: row["runs"] for row in await rows["migrations"].find({"runs": {"$gt": 0}}).to_list()}
    assert runs == {1: 1, 2: 1, LATER_FIELDS: 2}


async def test_ctrl_c_ends_it_cleanly_and_it_goes_on(rows: Rows, commands: Commands) -> None:
    await shapes.store(rows, turns=TURNS // 4)
    listed = await commands.run("migrate", "--dry-run", status=3)
    assert listed.count("to be done") == 4
    assert "with --contract" in listed
    assert await rows["migrations"].count_documents({}) == 0

    async with watched(rows) as watch:
        process = await commands.start("migrate", seconds=0.05)
        await watch.until_done(1000)
        process.send_signal(signal.SIGINT)
        assert "run it again and it goes on from here" in await ended(process, 130)
    row = await rows["migrations"].find_one({"_id": LATER_FIELDS}) or {}
    assert (row["state"], row.get("holder")) == ("running", None)
    assert 0 < await unmigrated(rows) < TURNS // 4
    assert "running (" in await commands.run("migrate", "--dry-run", status=3)

    assert "Done: 4 (later_fields)." in await commands.run("migrate")
    assert await unmigrated(rows) == 0
    assert "Nothing was to be done." in await commands.run("migrate")
    assert "to be done" not in await commands.run("migrate", "--dry-run")


async def test_duplicates_end_commands_and_servers_with_a_sentence(rows: Rows, commands: Commands) -> None:
    await rows["users"].insert_many([{**shapes.user(1), "name": str(number)} for number in range(2)])

    by_command = await commands.run("migrate", status=1)
    by_server = await commands.run("serve", "--port", "0", status=1)
    found = await commands.run("doctor", status=1)

    for printed in (by_command, by_server, found):
        assert "email '1@example.com' (2 rows, _id: " in " ".join(printed.split())
    assert "Traceback" not in by_command + by_server
    await rows["users"].delete_one({"name": "1"})
    assert "Done: 1 (indexes)" in await commands.run("migrate")


async def test_with_migrations_left_to_others_commands_refuse(commands: Commands) -> None:
    assert "run: verbatim migrate" in await commands.run("user", "list", status=1, migrate="false")


async def test_help_says_what_it_does_and_how_it_ends(commands: Commands) -> None:
    printed = " ".join((await commands.run("migrate", "--help")).replace("│", " ").split())

    for words in ("--dry-run", "--contract", "--rebuild-indexes", "Exit status: 0 done", "130 ended by Ctrl-C"):
        assert words in printed


class Server(ServerProcess):
    """A server of the version that knows migrations up to `level`, or of this one."""

    def __init__(self, folder: Path, uri: str, *, level: int = 0, seconds: float = 0, **settings: Any) -> None:
        super().__init__(folder, mongo_uri=uri, database=NAME, turn_lease=2, search_builder=False, **settings)
        self._version = (str(level), str(seconds))

    async def _spawn(self) -> Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.migrations.process", *self._version),
            *("serve", "--data", str(self.data), *self._options),
            cwd=self.data,
            env=self._environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
        )

    async def states(self) -> tuple[int, int]:
        """What liveness and readiness answer."""
        async with self.client() as client:
            return (await client.get("/health/live")).status_code, (await client.get("/health/ready")).status_code


async def test_old_and_new_serve_side_by_side_until_the_old_one_is_shut_out(
    rows: Rows, commands: Commands, mongo_uri: str, tmp_path: Path
) -> None:
    async with Server(tmp_path / "old", mongo_uri, level=2) as old:
        async with old.client() as before, Server(tmp_path / "new", mongo_uri) as new, new.client() as after:
            chat = await before.post("/api/conversations", json={"title": "by the old one"})
            assert chat.status_code == 201
            read = await after.get(f"/api/conversations/{chat.json()['id']}")
            assert read.json()["title"] == "by the old one"
            other = await after.post("/api/conversations", json={"title": "by the new one"})
            assert (await before.get(f"/api/conversations/{other.json()['id']}")).status_code == 200
            assert await old.states() == await new.states() == (200, 200)
            refused = await commands.run("migrate", "--contract", status=1)
            assert "1 server of an older version still run" in refused
            assert await old.terminate() == 0
            await commands.run("migrate", "--contract")
            assert await new.states() == (200, 200)
            assert (await after.get("/api/conversations")).status_code == 200

    shut_out = await commands.run("serve", "--port", "0", level=2, status=1)
    assert "was migrated for Verbatim" in shut_out
    assert "restore a backup from before" in shut_out
    assert "was migrated for Verbatim" in await commands.run("user", "list", level=2, status=1)


async def test_a_server_says_while_others_migrate_that_it_lives_and_is_not_ready(
    rows: Rows, commands: Commands, mongo_uri: str, tmp_path: Path
) -> None:
    """It waits for `verbatim migrate`, as it does for another server that migrates."""
    server = Server(tmp_path / "data", mongo_uri, migrate=False)
    port = await _free_port()
    server._options = ("--port", str(port))
    starting = asyncio.create_task(server.start())
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            # Who comes before the server listens is refused; who comes before it answers waits.
            live = await _first_answer(client, "/health/live")
            ready = await client.get("/health/ready")
            asked = await client.get("/api/conversations", headers={"Authorization": f"Bearer {ADMIN_KEY}"})
            assert (live.status_code, ready.status_code, asked.status_code) == (200, 503, 503)
            assert "The server is starting" in ready.json()["detail"]
            assert ready.headers["retry-after"] == "2"
            assert not starting.done()
            await commands.run("migrate")
            await starting
            assert (await client.get("/health/ready")).status_code == 200
            assert (await client.get("/api/conversations", headers=server.client().headers)).status_code == 200
        assert await server.terminate() == 0
        assert "waiting_for_migrations" in server.log
    finally:
        starting.cancel()
        await server._end(has_failed=False)


async def _free_port() -> int:
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = int(listener.sockets[0].getsockname()[1])
    listener.close()
    await listener.wait_closed()
    return port


async def _first_answer(client: httpx.AsyncClient, path: str) -> httpx.Response:
    async with asyncio.timeout(60):
        while True:
            try:
                return await client.get(path)
            except httpx.ConnectError:
                await asyncio.sleep(0.1)


async def test_a_server_that_migrates_ends_at_once_when_it_is_told_to(
    rows: Rows, mongo_uri: str, tmp_path: Path
) -> None:
    async with await rows["migrations"].watch(full_document="updateLookup") as changes:
        server = Server(tmp_path / "data", mongo_uri, seconds=30)
        server.data.mkdir()
        server._process = await server._spawn()
        try:
            async with asyncio.timeout(60):
                async for change in changes:
                    if (change["fullDocument"] or {}).get("state") == "running":
                        break
            os.kill(server.process.pid, signal.SIGTERM)  # type: ignore[attr-defined]
            assert await server.ended(20) == 0
        finally:
            await server._end(has_failed=False)
    assert (await rows["migrations"].find_one({"_id": 1}) or {}).get("holder") is None
