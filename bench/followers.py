"""Those who follow a turn: what one costs in memory, and how late they hear it from another process."""

import asyncio
import json
from collections.abc import Sequence

from rich.table import Table

from bench.arena import MODEL, Arena, get, post, settle
from bench.peers import Pace
from bench.server import KEY, Server
from bench.streams import Connection, connect, percentile
from bench.tables import mebibytes, table

_IDLE = Pace(first=600.0)
_PACED = Pace(first=0.2, tokens=40, delay=0.025)
_FOLLOWERS = 1000
_TURNS = 16
_PATIENCE = 120.0


class Follower:
    """Notes when each event of a turn was here (monotonic nanoseconds), by its number, and the turn's id."""

    def __init__(self) -> None:
        self.times: dict[int, int] = {}
        self.turn_id = ""
        self.last = ""
        self.has_started = asyncio.Event()

    def hear(self, block: bytes, at: int) -> None:
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if not line.startswith(b":"))
        if b"id" not in fields:
            return
        self.times[int(fields[b"id"])] = at
        self.last = fields[b"event"].decode()
        if not self.turn_id:
            self.turn_id = json.loads(fields[b"data"])["id"]
            self.has_started.set()


async def _begin(server: Server, conversation: str) -> tuple[Follower, Connection, "asyncio.Future[int]"]:
    """Start a turn and follow it on the same connection; returns when it has started."""
    body = {"content": "What is the answer?", "model": MODEL, "stream": True}
    return await _listen(server, post(f"/api/conversations/{conversation}/turns", KEY, body))


async def _follow(server: Server, turn_id: str) -> tuple[Follower, Connection, "asyncio.Future[int]"]:
    return await _listen(server, get(f"/api/turns/{turn_id}/events", KEY))


async def _listen(server: Server, request: bytes) -> tuple[Follower, Connection, "asyncio.Future[int]"]:
    follower, connection = Follower(), await connect(server.port)
    answered = connection.send(request, follower)
    answered.add_done_callback(lambda _: follower.has_started.set())
    async with asyncio.timeout(_PATIENCE):
        await follower.has_started.wait()
    if not follower.turn_id:
        raise RuntimeError(f"the server answered {answered.result()} and no stream")
    return follower, connection, answered


async def memory(arena: Arena) -> Sequence[Table]:
    """What a thousand idle followers of one turn cost, and of a thousand turns."""
    made = table(
        f"{_FOLLOWERS:,} idle followers: resident memory of the server",
        *("followed", "MiB before", "MiB after", "KiB each"),
    )
    arena.upstream.set_pace(_IDLE)
    for turns in (1, _FOLLOWERS):
        async with arena.server() as server:
            arena.console.print(f"{_FOLLOWERS:,} followers of {turns:,} turns ...", style="dim")
            for name, before, after in await _grow(arena, server, turns):
                count = turns if name.endswith("running") else _FOLLOWERS
                made.add_row(name, mebibytes(before), mebibytes(after), f"{(after - before) / count / 1024:.1f}")
    return [made]


async def _grow(arena: Arena, server: Server, turns: int) -> list[tuple[str, int, int]]:
    conversations = await arena.conversations(turns + 50)
    warm = [await _begin(server, each) for each in conversations[turns:]]
    warm += [await _follow(server, begun[0].turn_id) for begun in warm]
    await settle(1)
    rows, sizes = [], [server.process.memory()]
    begun = [await _begin(server, each) for each in conversations[:turns]]
    await settle(1)
    sizes.append(server.process.memory())
    followers = [await _follow(server, begun[number % turns][0].turn_id) for number in range(_FOLLOWERS)]
    await settle(1)
    sizes.append(server.process.memory())
    if turns > 1:
        rows.append((f"{turns:,} turns running", sizes[0], sizes[1]))
    rows.append(("one turn" if turns == 1 else f"{turns:,} turns, one each", sizes[1], sizes[2]))
    arena.upstream.release()
    async with asyncio.timeout(_PATIENCE):
        await asyncio.gather(*(answered for _, _, answered in (*warm, *begun, *followers)))
    for _, connection, _ in (*warm, *begun, *followers):
        connection.transport.close()
    return rows


async def across(arena: Arena) -> Sequence[Table]:
    """Turns begun on one process and followed on another: how long after the first client the second hears."""
    made = table(
        f"{_TURNS} turns at once, begun on process A and followed on B; 40 tokens, one each 25 ms",
        *("client", "turns", "events", "after A's client, ms p50", "p99", "most", "events missed"),
    )
    arena.upstream.set_pace(_PACED)
    async with arena.server() as first, arena.server() as second:
        for name, server in (("a second client of A", first), ("a client of B", second)):
            arena.console.print(f"Following: {name} ...", style="dim")
            conversations = await arena.conversations(2 * _TURNS)
            for group in (conversations[:_TURNS], conversations[_TURNS:]):  # the first one warms
                pairs = await asyncio.gather(*(_pair(first, server, each) for each in group))
            delays = [(late.times[n] - early.times[n]) / 1e6 for early, late in pairs for n in late.times if n > 1]
            missed = sum(len(early.times.keys() - late.times.keys()) for early, late in pairs)
            made.add_row(
                *(name, str(len(pairs)), str(len(delays))),
                *(f"{percentile(delays, share):.1f}" for share in (0.5, 0.99, 1.0)),
                str(missed),
            )
    return [made]


async def _pair(first: Server, second: Server, conversation: str) -> tuple[Follower, Follower]:
    early, early_connection, early_end = await _begin(first, conversation)
    late, late_connection, late_end = await _follow(second, early.turn_id)
    async with asyncio.timeout(_PATIENCE):
        await asyncio.gather(early_end, late_end)
    for connection in (early_connection, late_connection):
        connection.transport.close()
    return early, late
