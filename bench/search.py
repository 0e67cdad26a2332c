"""Search of message content on real messages: answers, sizes, what it costs to write, paging, hostile patterns."""

import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from app.config import Settings
from app.database import Database, prepare
from app.migrations.runner import Migrations
from app.services import Services, build_services
from bench.arena import Arena
from bench.asking import Client, Reply, check, walk
from bench.corpus import Corpus, CorpusMissing
from bench.deep import deep_pages
from bench.hostile import hostile
from bench.questions import Kind, Texts
from bench.server import KEY
from bench.sizes import sizes
from bench.stored import Stored, store
from bench.streams import percentile
from bench.tables import table
from bench.writing import building, inserting

DATA = "BENCH_DATA"
MESSAGES = "BENCH_MESSAGES"
_USUAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_USUAL_MESSAGES = "10000,100000"
_CHECKED = 3
"""Answers of each kind that are compared with a scan."""


def transcripts() -> Path:
    """The folder of the real ones."""
    return Path(os.environ.get(DATA, _USUAL_DATA))


@dataclass
class _Times:
    """Milliseconds of first and of further pages, and how the answers ended."""

    first: list[float] = field(default_factory=list)
    further: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, replies: Sequence[Reply]) -> None:
        self.first.append(replies[0].milliseconds)
        self.further += (reply.milliseconds for reply in replies[1:])
        self.outcomes.update(reply.outcome for reply in replies)


async def search(arena: Arena) -> Sequence[Table]:
    """Search on real messages, its sizes and its costs, paging, hostile patterns; see below."""
    try:
        corpus = Corpus.read(transcripts())
    except CorpusMissing as error:
        arena.console.print(str(error))
        return []
    tables: list[Table] = []
    for size in map(int, os.environ.get(MESSAGES, _USUAL_MESSAGES).split(",")):
        async with another_database(arena, f"search{size}") as database, services_of(database) as services:
            tables += await _measured(arena, services, corpus, size)
    return tables


@asynccontextmanager
async def another_database(arena: Arena, name: str) -> AsyncIterator[Database]:
    """Another database of the same MongoDB until the block ends; so long the models are bound to it."""
    client = arena.database.client
    try:
        database = await prepare(client, name)
        await Migrations(database).finish("expand", "migrate")
        yield database
    finally:
        await client.drop_database(name)
        await prepare(client, arena.database.name)


@asynccontextmanager
async def services_of(database: Database) -> AsyncIterator[Services]:
    services = build_services(Settings(_env_file=None, database=database.name), database)
    try:
        yield services
    finally:
        await services.aclose()


async def _measured(arena: Arena, services: Services, corpus: Corpus, size: int) -> Sequence[Table]:
    """Every table of one size. No server runs while MongoDB's CPU is measured."""
    title = f"{size:,} messages"
    arena.console.print(f"Search: storing {title} ...", style="dim")
    stored = await store(services.database, corpus, size)
    arena.console.print(f"Search: stored in {stored.seconds:.0f} s; building ...", style="dim")
    tables = [*await building(services, arena.mongod(), size), await sizes(services.database, stored)]
    tables += await _served(arena, services.database, stored)
    arena.console.print("Search: inserting ...", style="dim")
    tables.append(await inserting(services, arena.mongod(), stored))
    for each in tables:
        each.title = f"{title}: {each.title}"
    return tables


async def _served(arena: Arena, database: Database, stored: Stored) -> Sequence[Table]:
    """What is measured through a server."""
    arena.console.print("Search: choosing what to ask ...", style="dim")
    kinds = Texts(stored.texts).kinds()
    owner = stored.owners[0]
    async with arena.server(database=database.name, log_level="error") as server:
        tables = []
        for who, key, scope in (
            ("everybody's, as an admin", KEY, {}),
            ("an owner's own (a sixth of all)", owner.key, {"owner_id": owner.id}),
        ):
            arena.console.print(f"Search: {who} ...", style="dim")
            tables.append(await _answers(database, partial(Client, server.port, key), kinds, who, scope))
        arena.console.print("Search: deep pages, hostile patterns ...", style="dim")
        tables.append(await deep_pages(database, server.port, KEY))
        tables += await hostile(database, server, stored.owners, arena.mongod())
    return tables


async def _answers(
    database: Database, connect: Callable[[], Client], kinds: Sequence[Kind], who: str, scope: Mapping[str, Any]
) -> Table:
    made = table(
        f"search of {who}; milliseconds of the first page of 20, and of pages 2 to 5",
        *("what is searched for", "strings", "of all messages", "first p50", "p95", "max", "further p50", "p95"),
        *("answers", "checked"),
    )
    for kind in kinds:
        times = _Times()
        async with connect() as client:
            walks = [(question, await walk(client, question)) for question in kind.questions]
        for _, replies in walks:
            times.add(replies)
        checked = [(question, replies) for question, replies in walks if replies[0].is_ok][:_CHECKED]
        for question, replies in checked:  # behind all that is measured: a scan drives the index out of MongoDB's cache
            await check(database.client[database.name].messages, scope, question, replies)
        made.add_row(
            *(kind.name, str(len(kind.questions)), f"{kind.hits:,.0f}"),
            *(f"{percentile(times.first, share):.1f}" for share in (0.5, 0.95, 1.0)),
            *(f"{percentile(times.further, share):.1f}" if times.further else "" for share in (0.5, 0.95)),
            ", ".join(f"{count} x {outcome}" for outcome, count in times.outcomes.most_common()),
            str(len(checked)),
        )
    return made
