"""Runs every measurement against one server and one database, and prints a table."""

import asyncio
import http.client
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop
from bson import ObjectId
from rich.console import Console
from rich.table import Table

from app.config import Settings
from app.database import open_database
from bench.driver import BareDriver, Floor, measure
from bench.load import Request, run_load
from bench.seed import CONVERSATIONS, MESSAGES_EACH, seed
from bench.server import KEY, PeakMemory, Server

CLIENTS = 16
MEBIBYTE = 1024 * 1024


async def main() -> None:
    console = Console(highlight=False, width=120)
    with tempfile.TemporaryDirectory(prefix="vb") as folder:
        data = Path(folder)
        async with open_database(Settings(_env_file=None, data=data)) as database:
            with Server(data) as server:
                admin = await database.client[database.name].users.find_one({"role": "admin"})
                console.print(f"Storing {CONVERSATIONS * MESSAGES_EACH:,} messages ...")
                conversations = await seed(database, (admin or {})["_id"])
                driver = BareDriver(database, conversations)
                console.print(await requests(server, driver, conversations))
                console.print(await exports(server, driver))
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}. Compare the ratios, not the seconds.")


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
    table = Table(title=f"Requests, {CLIENTS} clients, one server process")
    for heading in ("", "requests/s", "p50 ms", "p99 ms", "CPU us", "driver ops/s", "driver CPU us", "CPU ratio"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, make, operation, count in cases:
        await run_load(server.port, KEY, make, count=200, clients=CLIENTS)  # warm
        before = server.cpu_seconds()
        load = await run_load(server.port, KEY, make, count=count, clients=CLIENTS)
        cpu = (server.cpu_seconds() - before) / count * 1e6
        floor: Floor = await measure(operation, count=count, clients=CLIENTS)
        table.add_row(
            name,
            f"{load.per_second:,.0f}",
            f"{load.percentile(0.5):.1f}",
            f"{load.percentile(0.99):.1f}",
            f"{cpu:,.0f}",
            f"{floor.per_second:,.0f}",
            f"{floor.cpu_microseconds:,.0f}",
            f"{cpu / floor.cpu_microseconds:.2f}",
        )
    return table


async def exports(server: Server, driver: BareDriver) -> Table:
    """Rows a second and memory of exporting every message, beside the driver reading them."""
    wall, used = time.perf_counter(), time.process_time()
    with PeakMemory() as memory:
        rows = await driver.read_all()
    floor_seconds, floor_cpu = time.perf_counter() - wall, time.process_time() - used
    table = Table(title=f"Exports of {rows:,} messages")
    for heading in ("", "rows/s", "rows/CPU s", "first byte s", "peak MiB", "grown MiB", "CPU ratio"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row(
        "driver, read only",
        f"{rows / floor_seconds:,.0f}",
        f"{rows / floor_cpu:,.0f}",
        "",
        f"{memory.peak / MEBIBYTE:,.0f}",
        f"{(memory.peak - memory.before) / MEBIBYTE:,.0f}",
        "1.00",
    )
    for format in ("csv", "jsonl", "xlsx"):
        before = server.cpu_seconds()
        wall = time.perf_counter()
        with PeakMemory(server.pid) as memory:
            first, _ = await asyncio.to_thread(
                _download, server.port, f"/api/messages/export?sort=created_at&format={format}"
            )
        seconds, cpu = time.perf_counter() - wall, server.cpu_seconds() - before
        table.add_row(
            format,
            f"{rows / seconds:,.0f}",
            f"{rows / cpu:,.0f}",
            f"{first:.2f}",
            f"{memory.peak / MEBIBYTE:,.0f}",
            f"{(memory.peak - memory.before) / MEBIBYTE:,.0f}",
            f"{cpu / floor_cpu:.2f}",
        )
    return table


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


uvloop.run(main())
