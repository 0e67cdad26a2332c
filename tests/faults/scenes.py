"""Two servers on a replica set, clients that use them, and what they saw."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bson import ObjectId
from pymongo import AsyncMongoClient

from app.database import CLIENT_OPTIONS
from tests.faults.audit import Stored
from tests.faults.authors import Author
from tests.faults.fleet import Fleet, Seat
from tests.faults.followers import Follower, Ledger, View, ask, watch
from tests.faults.nursery import Nursery
from tests.faults.replica_set import Member, ReplicaSet
from tests.faults.stories import tell
from tests.upstream import Upstream

CLIENTS = 10


class Scene:
    """`first` and `second` are the servers that were there at the beginning."""

    def __init__(self, fleet: Fleet, uri: str, database: str) -> None:
        self.fleet = fleet
        self.first, self.second = fleet.serving
        self.ledger = Ledger(busy=CLIENTS // 2)
        self.seed = secrets.randbits(32)
        self._uri = uri
        self._database = database
        print(f"seed {self.seed}")

    def author(self, name: str, seat: Seat | None = None) -> Author:
        """A client; with a seat it stays with that server until this is killed."""
        rng = random.Random(f"{self.seed} {name}")

        async def pick() -> Seat:
            return seat if seat is not None and seat.killed_at is None else await self.fleet.pick(rng)

        return Author(name, self.ledger, pick, rng)

    async def begin(self, count: int, seat: Seat, tasks: asyncio.TaskGroup) -> list[View]:
        """So many questions, each the first of its conversation, asked on this server and followed there."""
        views = []
        for number in range(count):
            author = self.author(f"author {number}", seat)
            await author.open()
            view = View(author.name, ask(author.conversation, author.name))
            tasks.create_task(Follower(self.ledger, author.pick, author.rng).follow(view))
            views.append(view)
        return views

    async def watch(self, view: View, seat: Seat) -> None:
        """Let another client follow the same turn on this server."""
        watcher = self.author(f"watcher of {view.question}", seat)
        watched = View(view.question, watch(view.turn_id), view.turn_id)
        await Follower(self.ledger, watcher.pick, watcher.rng).follow(watched)

    async def stored(self, member: Member | None = None) -> Stored:
        """What is stored; or what one member has, whether the others have it or not."""
        options: dict[str, Any] = CLIENT_OPTIONS | {"readConcernLevel": "majority"}
        uri = self._uri
        if member is not None:
            uri = f"mongodb://{member.host}/?directConnection=true"
            options |= {"readConcernLevel": "local", **member.credentials}
        async with AsyncMongoClient[dict[str, Any]](uri, **options) as client:
            return await Stored.read(client[self._database])

    def report(self, what: str) -> float:
        """Print the figures; answers the longest time that a client waited for the next event."""
        longest = max(view.longest_silence for view in self.ledger.views)
        ends = [view.end for view in self.ledger.views if view.call.method == "POST"]
        print(
            f"\n{what}: {len(ends)} turns, {ends.count('turn.completed')} completed,"
            f" {len(self.ledger.views) - len(ends)} more views; longest wait for an event {longest:.1f} s"
        )
        return longest


@asynccontextmanager
async def scene(
    nursery: Nursery, folder: Path, replica_set: ReplicaSet, upstream: Upstream, *, pause: float, **settings: Any
) -> AsyncIterator[Scene]:
    """Two servers with a new database; their model says a word each `pause` seconds."""
    upstream.script["story"] = tell(pause=pause)
    database = f"verbatim_{ObjectId()}"
    shared = {
        "mongo_uri": replica_set.admin_uri,
        "database": database,
        "llm_providers": {"local": {"base_url": upstream.base_url}},
        "history_max_messages": 1,
        "log_level": "warning",
    }
    async with Fleet(nursery, folder, 2, **shared, **settings) as fleet:
        yield Scene(fleet, replica_set.admin_uri, database)


@asynccontextmanager
async def writing(scene: Scene) -> AsyncIterator[None]:
    """Clients that ask and follow all the time; at the end each sees its last answer whole."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for number in range(CLIENTS):
            tasks.create_task(scene.author(f"author {number}").write(stop))
        yield
        stop.set()
