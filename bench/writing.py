"""What search costs those who write: the insert itself, and the indexing behind it."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from statistics import median

import psutil
from bson import ObjectId
from rich.table import Table

from app.conversations.model import UNMARKED, Message
from app.services import Services
from bench.processes import cpu_seconds
from bench.stored import Stored
from bench.tables import table

_BLOCKS = 20
_INSERTS = 200
"""Of a block: enough for MongoDB's CPU, which the system counts in hundredths of a second."""


@dataclass
class _Cost:
    """Milliseconds of each insert, and of MongoDB's CPU an insert for each block."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


async def catch_up(services: Services) -> None:
    """Index every message that is stored."""
    async for _ in services.content_index.catch_up():
        pass


async def building(services: Services, mongod: psutil.Process, size: int) -> Sequence[Table]:
    """What it takes to index messages that are there."""
    wall, own, database = time.perf_counter(), time.process_time(), cpu_seconds(mongod)
    await catch_up(services)
    seconds, own = time.perf_counter() - wall, (time.process_time() - own) / size * 1e6
    database = (cpu_seconds(mongod) - database) / size * 1e6
    made = table(
        "indexing all of them behind the write", *("", "seconds", "CPU us a message, builder", "mongod", "together")
    )
    made.add_row("catch up", f"{seconds:.1f}", f"{own:.0f}", f"{database:.0f}", f"{own + database:.0f}")
    return [made]


async def inserting(services: Services, mongod: psutil.Process, stored: Stored) -> Table:
    """Single inserts with and without the index of unindexed messages, in turns, so that both meet the same machine."""
    ways: dict[str, Callable[[], AbstractAsyncContextManager[None]]] = {
        "with what search needs": nullcontext,
        "without": _without_index,
    }
    costs = {name: _Cost() for name in ways}
    for number in range(_BLOCKS):
        for name, way in list(ways.items())[:: -1 if number % 2 else 1]:
            messages = _messages(stored, number)
            async with way():
                await _insert(services, mongod, messages, costs[name])
            await catch_up(services)
    made = table(
        f"single inserts, {_BLOCKS} x {_INSERTS} of each in turns",
        *("", "wall ms p50", "mongod's CPU ms", "of the turn without"),
    )
    bare = costs["without"].cpu
    for name, cost in costs.items():
        # Of turns beside each other: what else the machine does changes slowly.
        ratios = [mine / other for mine, other in zip(cost.cpu, bare, strict=True) if other]
        figures = (f"{median(cost.wall):.2f}", f"{median(cost.cpu):.3f}", f"{median(ratios):.2f}" if ratios else "-")
        made.add_row(name, *figures)
    return made


def _messages(stored: Stored, block: int) -> Sequence[Message]:
    """Messages of a new conversation, with the texts of stored ones."""
    conversation = ObjectId()
    texts = stored.texts[block * _INSERTS : (block + 1) * _INSERTS]
    return [
        Message(conversation_id=conversation, owner_id=stored.owners[0].id, seq=seq, role="user", content=text)
        for seq, text in enumerate(texts, 1)
    ]


async def _insert(services: Services, mongod: psutil.Process, messages: Sequence[Message], cost: _Cost) -> None:
    before = cpu_seconds(mongod)
    for message in messages:
        started = time.perf_counter()
        await services.conversations.messages.insert_many([message])
        cost.wall.append((time.perf_counter() - started) * 1000)
    cost.cpu.append((cpu_seconds(mongod) - before) / len(messages) * 1000)


@asynccontextmanager
async def _without_index() -> AsyncIterator[None]:
    """Drop the index of the messages that wait to be indexed, until the block ends."""
    collection = Message.get_pymongo_collection()
    indexes = [index for index in Message.Settings.indexes if index.document["name"] == UNMARKED]
    await collection.drop_index(UNMARKED)
    try:
        yield
    finally:
        await collection.create_indexes(indexes)
