"""Requests and exports beside the bare driver doing the same."""

import asyncio
import http.client
import json
import time
from collections.abc import Sequence
from typing import Any

from bson import ObjectId
from rich.table import Table

from bench.arena import Arena
from bench.driver import BareDriver, Floor, measure
from bench.load import Request, run_load
from bench.processes import PeakMemory
from bench.seed import CONVERSATIONS, MESSAGES_EACH, seed
from bench.server import KEY, Server
from bench.tables import MEBIBYTE, mebibytes, table

CLIENTS = 16


async def rest(arena: Arena) -> Sequence[Table]:
    """Requests and exports on 100,000 messages."""
    async with arena.server() as server:
        arena.console.print(f"Storing {CONVERSATIONS * MESSAGES_EACH:,} messages ...", style="dim")
        conversations = await seed(arena.database, arena.owner_id)
        driver = BareDriver(arena.database, conversations)
        return [await requests(server, driver, conversations), await exports(server, driver)]


async def requests(server: Server, driver: BareDriver, conversations: list[ObjectId]) -> Table:
    """Requests a second and CPU a request at 16 clients, beside the driver's."""

    def pick(number: int) -> ObjectId:
        return conversations[number * 7919 % len(conversations)]

    body = json.dumps({"role": "user", "content": "x" * 250}).encode()
    cases: list[tuple[str, Any, Any, int]] = [
        ("get one", lambda n: Request("GET", f"/api/conversations/{pick(n)}"), driver.get_one, 5000),
        (
            "list 100",
            lambda n: Request("GET", f"/api/conversations/{pick(n)}/messages?limit=100"),
            driver.list_100,
            1500,
        ),
        ("append", lambda n: Request("POST", f"/api/conversations/{pick(n)}/messages", body), driver.append, 2000),
    ]
    made = table(
        f"Requests, {CLIENTS} clients, one server process",
        *("", "requests/s", "p50 ms", "p99 ms", "CPU us", "driver ops/s", "driver CPU us", "CPU ratio"),
    )
    for name, make, operation, count in cases:
        await run_load(server.port, KEY, make, count=200, clients=CLIENTS)  # warm
        before = server.process.cpu_seconds()
        load = await run_load(server.port, KEY, make, count=count, clients=CLIENTS)
        cpu = (server.process.cpu_seconds() - before) / count * 1e6
        floor: Floor = await measure(operation, count=count, clients=CLIENTS)
        made.add_row(
            name,
            f"{load.per_second:,.0f}",
            f"{load.percentile(0.5):.1f}",
            f"{load.percentile(0.99):.1f}",
            f"{cpu:,.0f}",
            f"{floor.per_second:,.0f}",
            f"{floor.cpu_microseconds:,.0f}",
            f"{cpu / floor.cpu_microseconds:.2f}",
        )
    return made


async def exports(server: Server, driver: BareDriver) -> Table:
    """Rows a second and memory of exporting every message, beside the driver reading them."""
    wall, used = time.perf_counter(), time.process_time()
    with PeakMemory() as memory:
        rows = await driver.read_all()
    floor_seconds, floor_cpu = time.perf_counter() - wall, time.process_time() - used
    made = table(
        f"Exports of {rows:,} messages",
        *("", "rows/s", "rows/CPU s", "first byte s", "peak MiB", "grown MiB", "CPU ratio"),
    )
    speeds = (f"{rows / floor_seconds:,.0f}", f"{rows / floor_cpu:,.0f}", "")
    made.add_row("driver, read only", *speeds, *_grown(memory), "1.00")
    for format in ("csv", "jsonl", "xlsx"):
        before = server.process.cpu_seconds()
        wall = time.perf_counter()
        with PeakMemory(server.process.pid) as memory:
            first, _ = await asyncio.to_thread(
                _download, server.port, f"/api/messages/export?sort=created_at&format={format}"
            )
        seconds, cpu = time.perf_counter() - wall, server.process.cpu_seconds() - before
        speeds = (f"{rows / seconds:,.0f}", f"{rows / cpu:,.0f}", f"{first:.2f}")
        made.add_row(format, *speeds, *_grown(memory), f"{cpu / floor_cpu:.2f}")
    return made


def _grown(memory: PeakMemory) -> tuple[str, str]:
    return mebibytes(memory.peak), mebibytes(memory.peak - memory.before)


def _download(port: int, path: str) -> tuple[float, int]:
    """Seconds to the first byte, and bytes."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("GET", path, headers={"Authorization": f"Bearer {KEY}"})
    response = connection.getresponse()
    size = len(response.read(1))
    first = time.perf_counter() - started
    while chunk := response.read(MEBIBYTE):
        size += len(chunk)
    connection.close()
    if response.status != 200:
        raise RuntimeError(f"{path} answered {response.status}")
    return first, size
