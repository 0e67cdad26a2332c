"""What the processes of a stage hold: memory, files, threads, tasks, connections to MongoDB."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from chaos.stage import Stage
from tests.processes import ADMIN_KEY

Figures = Mapping[str, float]
"""By their names, such as `memory`."""

_OWN = {("verbatim_asyncio_tasks", ""): "tasks", ("verbatim_mongo_connections", "open"): "connections"}
"""What a server says of itself, by the metric's name and its state."""
_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Limit:
    """How much a figure may grow: by a share of its mean, or an amount. `mongod`: whether that goes for MongoDB too."""

    share: float
    amount: float
    mongod: bool = True


LIMITS: Mapping[str, Limit] = {
    "memory": Limit(0.05, 4, mongod=False),  # it fills its cache
    "files": Limit(0.05, 4),
    "threads": Limit(0.05, 2),
    "tasks": Limit(0.10, 5),
    "connections": Limit(0.10, 4),
}
"""The figures that are looked at; memory in MiB."""


async def sample(stage: Stage) -> Mapping[str, Figures]:
    """The figures of each process by its name."""
    members = {f"member {number}": member.process.pid for number, member in enumerate(stage.members.members)}
    servers = {f"server {name}": pid for pid, name in stage.servers.processes.items()}
    figures = {name: await asyncio.to_thread(_of_process, pid) for name, pid in {**members, **servers}.items()}
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {ADMIN_KEY}"}, timeout=10) as client:
        for name, url in stage.servers.addresses.items():
            figures[f"server {name}"] |= _of_server((await client.get(f"{url}/metrics")).text)
    return figures


def _of_process(pid: int) -> dict[str, float]:
    process = psutil.Process(pid)
    with process.oneshot():
        return {
            "memory": process.memory_info().rss / _MEBIBYTE,
            "files": process.num_fds(),
            "threads": process.num_threads(),
        }


def _of_server(exposition: str) -> dict[str, float]:
    rows = [row for family in text_string_to_metric_families(exposition) for row in family.samples]
    named = {(row.name, row.labels.get("state", "")): row.value for row in rows}
    return {name: named[key] for key, name in _OWN.items()}
