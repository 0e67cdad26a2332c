"""Streamed turns beside LiteLLM's proxy and the bare upstream: added time, CPU, bytes, connections."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil
from rich.table import Table

from bench.arena import Arena, settle, targets
from bench.peers import Pace
from bench.processes import PeakMemory, Process, cpu_seconds
from bench.server import Server
from bench.streams import Run, Target, run_streams
from bench.tables import mebibytes, ratio, table

PACED = Pace(first=0.2, tokens=40, delay=0.025)
AT_ONCE = Pace(tokens=40)
BRIEF = Pace(first=0.1, tokens=40)
"""Long enough for the calls of all clients to overlap."""
ONE_SECOND = Pace(first=1.0, tokens=40)
CROWD = Pace(first=0.5, tokens=100, delay=0.02, every=True)

_COUNTS = {1: 12, 16: 64, 100: 200}
"""Answers by the number of clients."""
_QUICKER = 4
"""So many times as many when the upstream does not wait."""
_CROWD = 1000
_TURNS_OF_REUSE = 1000


@dataclass(frozen=True)
class _Measured:
    run: Run
    cpu: float
    """Milliseconds of the server process for each answer."""
    database_cpu: float


async def added(arena: Arena) -> Sequence[Table]:
    """What a 40-token stream costs in time and CPU at 1, 16 and 100 clients, at a pace and all at once."""
    async with arena.server() as server:
        return [
            await _added(arena, server, PACED, "40 tokens, the first after 200 ms, then one each 25 ms", 1),
            await _added(arena, server, AT_ONCE, "40 tokens at once", _QUICKER),
        ]


async def _added(arena: Arena, server: Server, pace: Pace, title: str, factor: int) -> Table:
    made = table(
        f"{title}: milliseconds added to the first token and to the whole, CPU of the server for each stream",
        *("clients", "target", "streams/s", "first p50", "p99", "of LiteLLM's", "whole p50", "p99", "of LiteLLM's"),
        *("CPU ms", "of LiteLLM's", "mongod's ms", "bytes/token", "errors"),
        names=2,
    )
    arena.upstream.set_pace(pace)
    processes = {"Verbatim": server.process}
    if arena.litellm is not None:
        processes["LiteLLM"] = arena.litellm.process
    for clients, answers in _COUNTS.items():
        count = answers * factor
        verbatim = await arena.verbatim(server, count + clients)
        measured: dict[str, _Measured] = {}
        for target in targets(arena.direct(), arena.proxy(), verbatim):
            # LiteLLM answers a few streams a second: as many as the others take would last for minutes.
            own = count if target.name != "LiteLLM" else max(8, clients, count // 4)
            arena.console.print(f"{title}: {target.name}, {clients} clients ...", style="dim")
            measured[target.name] = await _measure(arena, target, processes.get(target.name), own, clients, pace)
        for name, each in measured.items():
            made.add_row(*_added_row(clients, name, each, measured.get("LiteLLM")))
    return made


async def _measure(
    arena: Arena, target: Target, process: Process | None, count: int, clients: int, pace: Pace
) -> _Measured:
    mongod = arena.mongod() if target.name == "Verbatim" else None
    await run_streams(_shifted(target, count), count=clients, clients=clients, tokens=pace.tokens)  # warm
    await settle()
    before, database_before = process.cpu_seconds() if process else 0.0, _cpu_seconds(mongod)
    run = await run_streams(target, count=count, clients=clients, tokens=pace.tokens, spread=pace.seconds)
    after, database_after = process.cpu_seconds() if process else 0.0, _cpu_seconds(mongod)
    return _Measured(run, (after - before) / count * 1000, (database_after - database_before) / count * 1000)


def _shifted(target: Target, by: int) -> Target:
    """The same target asking its later questions."""
    return Target(
        target.name, target.port, lambda number: target.request(number + by), delta=target.delta, end=target.end
    )


def _cpu_seconds(process: psutil.Process | None) -> float:
    return 0.0 if process is None else cpu_seconds(process)


def _added_row(clients: int, name: str, each: _Measured, litellm: _Measured | None) -> Sequence[str]:
    run = each.run
    peer = litellm if name != "upstream itself" else None
    return (
        str(clients),
        name,
        f"{run.per_second:.1f}",
        *(f"{run.added_first(share):.1f}" for share in (0.5, 0.99)),
        ratio(run.added_first(0.5), peer.run.added_first(0.5)) if peer else "",
        *(f"{run.added_total(share):.1f}" for share in (0.5, 0.99)),
        ratio(run.added_total(0.5), peer.run.added_total(0.5)) if peer else "",
        f"{each.cpu:.2f}" if each.cpu else "",
        ratio(each.cpu, peer.cpu) if peer else "",
        f"{each.database_cpu:.2f}" if each.database_cpu else "",
        f"{run.bytes_per_token:.0f}",
        _errors(run),
    )


def _errors(run: Run) -> str:
    return ", ".join(f"{count} x {fault}" for fault, count in run.errors.items()) or "0"


async def crowd(arena: Arena) -> Sequence[Table]:
    """A thousand streams at once on one process, each of 100 tokens at 50 a second."""
    arena.upstream.set_pace(AT_ONCE)
    async with arena.server() as server:
        warm = await arena.verbatim(server, 16)
        await run_streams(warm, count=16, clients=16, tokens=AT_ONCE.tokens)
        arena.upstream.set_pace(CROWD)
        processes = {"upstream itself": arena.upstream.process, "Verbatim": server.process}
        columns: dict[str, Mapping[str, str]] = {}
        for target in (arena.direct(), await arena.verbatim(server, _CROWD)):
            arena.console.print(f"{_CROWD:,} streams: {target.name} ...", style="dim")
            columns[target.name] = await _crowd(arena, target, processes[target.name])
            await settle()
    made = table(
        f"{_CROWD:,} streams at once, {CROWD.tokens} tokens each, {1 / CROWD.delay:.0f} a second", "", *columns
    )
    for name in columns["Verbatim"]:
        made.add_row(name, *(column[name] for column in columns.values()))
    return [made]


async def _crowd(arena: Arena, target: Target, process: Process) -> Mapping[str, str]:
    """The figures of one target by their names; CPU and memory are those of `process`."""
    mongod = arena.mongod()
    before, database_before = process.cpu_seconds(), _cpu_seconds(mongod)
    with PeakMemory(process.pid) as memory:
        run = await run_streams(target, count=_CROWD, clients=_CROWD, tokens=CROWD.tokens)
    cpu, database_cpu = process.cpu_seconds() - before, _cpu_seconds(mongod) - database_before
    tokens, deltas = (sum(getattr(each, name) for each in run.answers) for name in ("tokens", "deltas"))
    return {
        "errors": _errors(run),
        f"seconds (the pace alone: {CROWD.seconds:.1f})": f"{run.seconds:.1f}",
        "tokens/s": f"{tokens / run.seconds:,.0f}",
        "added to the first token, p50 / p99 ms": _pair(run.added_first),
        "each token late by, p50 / p99 ms": _pair(run.lag),
        "added to the whole, p50 / p99 ms": _pair(run.added_total),
        "deltas a stream": f"{deltas / max(1, len(run.answers)):.0f}",
        "CPU ms a stream": f"{cpu / _CROWD * 1000:.1f}",
        "mongod CPU ms a stream": f"{database_cpu / _CROWD * 1000:.1f}",
        "MiB before / at the peak": f"{mebibytes(memory.before)} / {mebibytes(memory.peak)}",
    }


def _pair(share_of: Callable[[float], float]) -> str:
    return f"{share_of(0.5):,.0f} / {share_of(0.99):,.0f}"


async def slow(arena: Arena) -> Sequence[Table]:
    """A hundred turns at once on an upstream that takes a second."""
    made = table(
        "100 answers at once from an upstream that takes 1 s",
        *("answer", "target", "seconds", "slowest ms", "errors"),
        names=2,
    )
    arena.upstream.set_pace(ONE_SECOND)
    async with arena.server() as server:
        for stream in (False, True):
            verbatim = await arena.verbatim(server, 200, stream=stream)
            for target in targets(arena.direct(stream=stream), arena.proxy(stream=stream), verbatim):
                arena.console.print(f"100 slow answers: {target.name} ...", style="dim")
                await run_streams(_shifted(target, 100), count=100, clients=100, tokens=ONE_SECOND.tokens)  # warm
                run = await run_streams(target, count=100, clients=100, tokens=ONE_SECOND.tokens)
                slowest = max((each.ended - each.sent) / 1e6 for each in run.answers)
                made.add_row(
                    *("stream" if stream else "JSON", target.name, f"{run.seconds:.2f}"),
                    *(f"{slowest:,.0f}", _errors(run)),
                )
    return [made]


async def reuse(arena: Arena) -> Sequence[Table]:
    """How many connections a thousand turns open to the upstream."""
    made = table(
        f"Connections that {_TURNS_OF_REUSE:,} turns open to the upstream",
        *("clients", "opened while warming", "calls at once, at most", "opened by the 1,000", "reuse", "errors"),
    )
    async with arena.server() as server:
        for clients in (8, 100):
            arena.console.print(f"Connections: {clients} clients ...", style="dim")
            target = await arena.verbatim(server, _TURNS_OF_REUSE + clients)
            arena.upstream.set_pace(BRIEF)
            await run_streams(_shifted(target, _TURNS_OF_REUSE), count=clients, clients=clients, tokens=BRIEF.tokens)
            opened = arena.upstream.counts()["connections"]
            arena.upstream.set_pace(BRIEF)
            run = await run_streams(target, count=_TURNS_OF_REUSE, clients=clients, tokens=BRIEF.tokens)
            counts = arena.upstream.counts()
            share = 1 - counts["connections"] / counts["requests"]
            made.add_row(
                *(str(clients), str(opened), str(counts["most"]), str(counts["connections"])),
                *(f"{share:.1%}", _errors(run)),
            )
    return [made]
