"""Both servers are replaced one after the other while clients write, ask, read and export: no request fails."""

import asyncio
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient

from app.database import CLIENT_OPTIONS
from chaos.door import Door
from chaos.figures import Lag
from chaos.history import History
from chaos.load import Load
from chaos.servers import Servers
from chaos.verdict import Evidence, judge
from tests.faults.audit import Stored
from tests.faults.nursery import Nursery
from tests.faults.stories import asked, tell
from tests.processes import ADMIN_KEY, ROOT
from tests.upstream import Upstream

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

SERVERS = "ab"
WRITES = 12
"""Between two of the things that are done to the servers."""
CADDY = shutil.which("caddy")


@asynccontextmanager
async def both(servers: Servers, folder: Path) -> AsyncIterator[list[str]]:
    """The clients know both servers, and turn to the other one themselves."""
    yield servers.urls


@asynccontextmanager
async def caddy(servers: Servers, folder: Path) -> AsyncIterator[list[str]]:
    """The clients know one address, that of Caddy with the file in `deploy/`."""
    port = 0
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as probe:
        port = probe.sockets[0].getsockname()[1]
    text = (ROOT / "deploy" / "Caddyfile").read_text().replace("\n:8000 {", f"\nhttp://127.0.0.1:{port} {{")
    for number, url in enumerate(servers.urls, 1):
        text = text.replace(f"api{number}:8000", url.removeprefix("http://"))
    (folder / "Caddyfile").write_text(text)
    assert CADDY is not None
    process = await asyncio.create_subprocess_exec(
        *(CADDY, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"),
        env={"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await _listening(port)
        yield [f"http://127.0.0.1:{port}"]
    finally:
        process.terminate()
        await process.wait()


async def _listening(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def _written(history: History, count: int) -> None:
    """Return when so many more messages were appended."""
    target = len(history.appends) + count
    async with asyncio.timeout(60):
        while len(history.appends) < target:  # noqa: ASYNC110 other processes confirm them
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "front", [both, pytest.param(caddy, marks=pytest.mark.skipif(CADDY is None, reason="needs caddy"))]
)
async def test_no_request_fails_while_both_servers_are_replaced(
    tmp_path: Path,
    nursery: Nursery,
    shared: dict[str, Any],
    upstream: Upstream,
    front: Callable[[Servers, Path], Any],
) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    upstream.script["story"] = tell(pause=0.02)
    settings = {"history_max_messages": 1, "log_level": "warning", **shared, "database": f"verbatim_{ObjectId()}"}
    history, began = History(), time.monotonic()
    async with Servers(nursery, tmp_path, SERVERS, **settings) as servers:
        async with front(servers, tmp_path) as urls, Door(history, urls, ADMIN_KEY) as door:
            load = Load(door, history, seed)
            async with load.running():
                for name in SERVERS:
                    await _written(history, WRITES)
                    await servers.stop(name)
                    await _written(history, WRITES)
                    await servers.start(name)
                    await servers.ready()
                await _written(history, WRITES)
        for name in SERVERS:
            await servers.stop(name)
        async with AsyncMongoClient[dict[str, Any]](shared["mongo_uri"], **CLIENT_OPTIONS) as client:
            stored = await Stored.read(client[settings["database"]])
            await client.drop_database(settings["database"])
    verdict = judge(
        Evidence(
            began, [], history, load.ledger.views, load.transcripts, stored, asked(upstream), Lag(), servers.faults
        )
    )
    slowest = max(each.ended - each.started for each in history.requests if each.kind != "turn")
    print(f"{len(history.requests)} requests, the slowest {slowest:.1f} s, {len(load.ledger.views)} answers")

    assert verdict.violations == []
    assert {view.end for view in load.ledger.views} == {"turn.completed"}
