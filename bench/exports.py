"""Exports of every message: beside a raw cursor that writes nothing, and beside the way the textbook has it."""

import asyncio
import http.client
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from app.kit.export import FORMATS
from bench.arena import Arena
from bench.driver import BareDriver
from bench.probe import Probe
from bench.processes import PeakMemory
from bench.seed import MESSAGES_EACH, seed
from bench.server import KEY, Server
from bench.tables import MEBIBYTE, mebibytes, ratio, table
from bench.textbook import WAYS

EXPORTED = "BENCH_EXPORTED"
_USUAL = 100_000
_TOGETHER = ("csv", "xlsx", "jsonl", "csv")
"""Formats of exports that run at once."""


@dataclass(frozen=True)
class _Run:
    """What one way of exporting took: seconds, seconds of CPU, seconds to the first byte, bytes, and memory."""

    seconds: float
    cpu: float
    first: float | None
    size: int
    peak: int
    grown: int


async def exports(arena: Arena) -> Sequence[Table]:
    """Exports of 100,000 messages by format, beside a raw cursor, Beanie with csv.writer, and openpyxl."""
    rows = int(os.environ.get(EXPORTED, _USUAL))
    arena.console.print(f"Exports: storing {rows:,} messages ...", style="dim")
    conversations = await seed(arena.database, arena.owner_id, rows // MESSAGES_EACH)
    rows = await arena.database.client[arena.database.name].messages.estimated_document_count()
    made = table(
        f"Exports of {rows:,} messages",
        *("", "rows/s", "rows/CPU s", "of the cursor's", "first byte s", "MiB", "peak MiB", "grown MiB"),
        *("others' p99 ms", "others' worst ms"),
    )
    run = await _read(BareDriver(arena.database, conversations))
    cursor_speed = rows / run.cpu
    _add(made, "raw cursor, writes nothing", rows, run, cursor_speed)
    for format in FORMATS:
        async with arena.server(log_level="error", search_builder=False) as server:  # a new one: the peak is its own
            arena.console.print(f"Exports: {format} ...", style="dim")
            run, probe = await _served(server, [format])
        _add(made, format, rows, run, cursor_speed, probe)
    async with arena.server(log_level="error", search_builder=False) as server:
        arena.console.print(f"Exports: {len(_TOGETHER)} at once ...", style="dim")
        run, probe = await _served(server, _TOGETHER)
    _add(made, f"{' + '.join(_TOGETHER)} at once", rows * len(_TOGETHER), run, cursor_speed, probe)
    for way in WAYS:
        arena.console.print(f"Exports: textbook {way} ...", style="dim")
        _add(made, f"textbook: {WAYS[way].title}", rows, await _textbook(arena, way), cursor_speed)
    return [made]


async def _read(driver: BareDriver) -> _Run:
    wall, used = time.perf_counter(), time.process_time()
    with PeakMemory() as memory:
        await driver.read_all()
    seconds, cpu = time.perf_counter() - wall, time.process_time() - used
    return _Run(seconds, cpu, None, 0, memory.peak, memory.peak - memory.before)


async def _served(server: Server, formats: Sequence[str]) -> tuple[_Run, Probe]:
    """Downloads at once, while another client asks for something small again and again."""
    before, wall = server.process.cpu_seconds(), time.perf_counter()
    with Probe(server.port, "/api/users/me", KEY) as probe, PeakMemory(server.process.pid) as memory:
        paths = [f"/api/messages/export?sort=created_at&format={format}" for format in formats]
        got = await asyncio.gather(*(asyncio.to_thread(_download, server.port, path) for path in paths))
    seconds, cpu = time.perf_counter() - wall, server.process.cpu_seconds() - before
    first, size = max(each[0] for each in got), sum(each[1] for each in got)
    return _Run(seconds, cpu, first, size, memory.peak, memory.peak - memory.before), probe


def _download(port: int, path: str) -> tuple[float, int]:
    """Seconds to the first byte, and bytes."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=900)
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


async def _textbook(arena: Arena, way: str) -> _Run:
    """A process of its own, which tells what it took."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.textbook", str(arena.data), way), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the textbook way {way} ended with {process.returncode}")
    return _Run(**json.loads(output.splitlines()[-1]))


def _add(made: Table, name: str, rows: int, run: _Run, cursor_speed: float, probe: Probe | None = None) -> None:
    """`cursor_speed`: rows that the raw cursor reads in a second of CPU."""
    speed = rows / run.cpu
    made.add_row(
        *(name, f"{rows / run.seconds:,.0f}", f"{speed:,.0f}", ratio(speed, cursor_speed)),
        "" if run.first is None else f"{run.first:.2f}",
        *(f"{run.size / MEBIBYTE:,.0f}", mebibytes(run.peak), mebibytes(run.grown)),
        *(("", "") if probe is None else (f"{probe.percentile(0.99):.1f}", f"{probe.percentile(1.0):.1f}")),
    )
