"""Requests beside the bare driver doing the same."""

import json
from collections.abc import Sequence
from typing import Any

from bson import ObjectId
from rich.table import Table

from bench.arena import Arena
from bench.driver import BareDriver, Floor, measure
from bench.load import Request, run_load
from bench.seed import CONVERSATIONS, MESSAGES_EACH, seed
from bench.server import KEY, Server
from bench.tables import table

CLIENTS = 16


async def rest(arena: Arena) -> Sequence[Table]:
    """Requests on 100,000 messages."""
    async with arena.server() as server:
        arena.console.print(f"Storing {CONVERSATIONS * MESSAGES_EACH:,} messages ...", style="dim")
        conversations = await seed(arena.database, arena.owner_id)
        driver = BareDriver(arena.database, conversations)
        return [await requests(server, driver, conversations)]


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
