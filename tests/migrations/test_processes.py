"""Real processes: several at once, killed, told to end; servers of two versions side by side."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from app.database import Database
from app.migrations.registry import MIGRATIONS
from app.migrations.runner import Migrations
from tests.migrations import shapes
from tests.migrations.conftest import Commands
from tests.processes import ADMIN_KEY

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

Rows = AsyncDatabase[dict[str, Any]]
LATER_FIELDS = 4
AT_STARTS = [each.number for each in MIGRATIONS if each.phase != "contract"]
TURNS = 20_000


class Watched:
    """The ledger's row of one migration, as it changes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.row: dict[str, Any] = {}
        self.done: list[int] = []
        """How many turns were dealt with, at each step."""

    async def until(self, least: int) -> dict[str, Any]:
        """The row once so many turns are dealt with."""
        async with asyncio.timeout(90):
            while True:
                change = await self._stream.next()
                fields = change.get("fullDocument") or change["updateDescription"]["updatedFields"]
                self.row |= {name: value for name, value in fields.items() if "." not in name}
                if self.row.get("what") == "turns" and "done" in fields:
                    self.done.append(self.row["done"])
                    if self.row["done"] >= least:
                        return self.row


@asynccontextmanager
async def watched(rows: Rows) -> AsyncIterator[Watched]:
    async with await rows["migrations"].watch([{"$match": {"documentKey._id": LATER_FIELDS}}]) as stream:
        yield Watched(stream)


async def unmigrated(rows: Rows) -> int:
    return await rows["turns"].count_documents({"total_ms": {"$exists": False}})


async def test_of_four_one_migrates_and_when_it_is_killed_another_goes_on(rows: Rows, commands: Commands) -> None:
    await shapes.store(rows, turns=TURNS)
    async with watched(rows) as watch:
        four = [await commands.start("migrate", seconds=0.03) for _ in range(4)]
        row = await watch.until(TURNS // 4)
        [killed] = [each for each in four if each.child.pid == int(row["holder"].split(":")[1])]
        killed.child.kill()
        await killed.ended(-signal.SIGKILL)
        printed = [await each.ended() for each in four if each is not killed]
        await watch.until(TURNS)

    assert watch.done == sorted(watch.done), "the heir did not go on where the dead one was"
    assert sum("(later_fields)" in line for each in printed for line in each.splitlines() if line[:5] == "Done:") == 1
    assert await unmigrated(rows) == 0
    runs = {row["_id"]: row["runs"] for row in await rows["migrations"].find({"runs": {"$gt": 0}}).to_list()}
    assert runs == {**dict.fromkeys(AT_STARTS, 1), LATER_FIELDS: 2}


async def test_ctrl_c_ends_it_cleanly_and_it_goes_on(rows: Rows, commands: Commands) -> None:
    await shapes.store(rows, turns=TURNS // 4)
    async with watched(rows) as watch:
        process = await commands.start("migrate", seconds=0.05)
        await watch.until(1000)
        process.child.send_signal(signal.SIGINT)
        assert "run it again and it goes on from here" in await process.ended(130)
    row = await rows["migrations"].find_one({"_id": LATER_FIELDS}) or {}
    assert (row["state"], row.get("holder")) == ("running", None)
    assert 0 < await unmigrated(rows) < TURNS // 4
    assert "running (" in await commands.run("migrate", "--dry-run", status=3)

    assert "Done: 4 (later_fields)" in await commands.run("migrate")
    assert await unmigrated(rows) == 0


async def test_duplicates_end_a_server_with_a_sentence(rows: Rows, commands: Commands) -> None:
    await rows["users"].insert_many([{**shapes.user(1), "name": str(number)} for number in range(2)])

    printed = await commands.run("serve", "--port", "0", status=1)

    assert "email '1@example.com' (2 rows, _id: " in printed
    assert "Traceback" not in printed


async def test_old_and_new_serve_side_by_side_until_the_old_one_is_shut_out(
    old: Database, rows: Rows, commands: Commands
) -> None:
    servers = commands.server("old", level=4, turn_lease=2), commands.server("new", turn_lease=2)
    async with servers[0] as before, servers[1] as after, before.client() as of_old, after.client() as of_new:
        chat = await of_old.post("/api/conversations", json={"title": "by the old one"})
        read = await of_new.get(f"/api/conversations/{chat.json()['id']}")
        assert read.json()["title"] == "by the old one"
        turn = {"content": "said to the new one"}
        assert (await of_new.post(f"/api/conversations/{chat.json()['id']}/turns", json=turn)).status_code == 201
        told = await of_old.get(f"/api/conversations/{chat.json()['id']}/messages")
        assert [each["content"] for each in told.json()["items"]] == ["said to the new one"] * 2
        assert await before.states() == await after.states() == (200, 200)
        refused = await commands.run("migrate", "--contract", status=1)
        assert "1 server of an older version still run" in refused
        assert await before.terminate() == 0
        assert "5 (retired_indexes)" in await commands.run("migrate", "--contract")
        assert await after.states() == (200, 200)
        assert (await of_new.get("/api/conversations")).status_code == 200

    shut_out = await commands.run("serve", "--port", "0", level=4, status=1)
    assert "was migrated for Verbatim" in shut_out
    assert "restore a backup from before" in shut_out
    assert "was migrated for Verbatim" in await commands.run("user", "list", level=4, status=1)


async def test_a_server_that_is_not_stopped_in_time_is_ready_no_more(
    old: Database, rows: Rows, commands: Commands
) -> None:
    """A newer version that shuts older ones out between their start and their first word is seen by their probes."""
    async with commands.server("old", level=4) as server:
        await rows["migrations"].insert_one({"_id": "schema", "contract": 5, "version": "9.0"})
        assert await server.states() == (200, 503)


async def test_while_others_migrate_a_server_says_that_it_lives_and_is_not_ready(
    old: Database, commands: Commands
) -> None:
    """It waits for `verbatim migrate`, as it does for another server that migrates."""
    port = await _free_port()
    server = commands.server("waiting", migrate=False)
    await server.begin(port)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
            live = await _first_answer(client, "/health/live")
            ready = await client.get("/health/ready")
            asked = await client.get("/api/conversations", headers=headers)
            assert (live.status_code, ready.status_code, asked.status_code) == (200, 503, 503)
            assert "The server is starting" in ready.json()["detail"]
            assert ready.headers["retry-after"] == "2"
            assert await rows_of(old, "users") == 0
            await Migrations(old).finish("expand")
            async with asyncio.timeout(60):
                await server._read_welcome()
            assert (await client.get("/health/ready")).status_code == 200
            assert (await client.get("/api/conversations", headers=headers)).status_code == 200
        assert await server.terminate() == 0
        assert "waiting_for_migrations" in server.log
    finally:
        await server._end(has_failed=False)


async def rows_of(database: Database, collection: str) -> int:
    return await database.client[database.name][collection].count_documents({})


async def _free_port() -> int:
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = int(listener.sockets[0].getsockname()[1])
    listener.close()
    await listener.wait_closed()
    return port


async def _first_answer(client: httpx.AsyncClient, path: str) -> httpx.Response:
    """Who comes before the server listens is refused; who comes before it answers waits."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await client.get(path)
            except httpx.ConnectError:
                await asyncio.sleep(0.05)


async def test_a_server_that_migrates_ends_at_once_when_it_is_told_to(rows: Rows, commands: Commands) -> None:
    server = commands.server("slow", seconds=600)
    async with await rows["migrations"].watch([{"$match": {"operationType": "update"}}]) as changes:
        await server.begin(await _free_port())
        try:
            async with asyncio.timeout(60):
                while (await changes.next())["updateDescription"]["updatedFields"].get("state") != "running":
                    pass
            assert await server.terminate() == 0
        finally:
            await server._end(has_failed=False)
    assert (await rows["migrations"].find_one({"_id": 1}) or {})["state"] == "running"
    assert await rows["migrations"].count_documents({"holder": {"$exists": True}}) == 0
