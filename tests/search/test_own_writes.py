"""What was written is found at once and by every later search, whatever the builders are doing meanwhile."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
import pytest
from bson import ObjectId

from app.conversations.repository import MessageRepository
from app.kit.cancellation import raise_if_cancelled
from app.kit.repository import EVERYTHING
from app.search.builder import IndexBuilder
from app.search.index import TextIndex
from app.search.register import LeaseLost
from app.services import Services
from tests.api.calls import new_conversation, say
from tests.conversations.searching import found as found_over_http
from tests.search.conftest import SMALL
from tests.search.stored import build, end_grace, expire_lease, found, store, traces, unmarked

pytestmark = pytest.mark.mongod

TOPICS = ("tea", "咖啡", "oat milk", "Éclair")


@dataclass
class World:
    """Writers, searchers and builders at the same time, and what must be found of what was written."""

    messages: MessageRepository
    services: Services
    dice: random.Random
    stored: dict[ObjectId, str] = field(default_factory=dict)
    """What was acknowledged and not purged yet."""
    gone: set[ObjectId] = field(default_factory=set)
    """What a purge has begun to remove."""
    has_news: asyncio.Event = field(default_factory=asyncio.Event)
    homes: dict[ObjectId, list[ObjectId]] = field(default_factory=dict)
    searches: int = 0

    def of(self, topic: str) -> set[ObjectId]:
        return {id for id, content in self.stored.items() if topic in content}

    async def write(self) -> None:
        content = " ".join(self.dice.choices([*TOPICS, "and", "nothing"], k=3))
        home = ObjectId()
        ids = await store(self.messages, *[content] * self.dice.randint(1, 8), conversation=home)
        self.stored |= dict.fromkeys(ids, content)
        self.homes[home] = ids
        self.has_news.set()
        topic = next((topic for topic in TOPICS if topic in content), None)
        if topic is not None:
            await self.search(topic)

    async def purge(self) -> None:
        if len(self.homes) < 10:
            return
        home = self.dice.choice(list(self.homes))
        ids = self.homes.pop(home)
        for id in ids:
            del self.stored[id]
        self.gone.update(ids)
        await self.services.database.transactions.run(lambda: self.messages.purge(home))

    async def search(self, topic: str | None = None) -> None:
        """Finds all that was acknowledged before, nothing twice, and nothing that was never written."""
        topic = topic or self.dice.choice(TOPICS)
        before = self.of(topic)
        ids = await found(self.messages, topic, sort=self.dice.choice(["created_at", "-created_at"]))
        assert len(ids) == len(set(ids)), "twice"
        assert before - set(ids) <= self.gone, "missed"
        self.searches += 1

    async def exact(self) -> None:
        for topic in TOPICS:
            for sort in ("created_at", "-created_at"):
                assert await found(self.messages, topic, sort=sort) == sorted(self.of(topic))


async def repeated(times: int, *steps: Callable[[], Awaitable[None]], dice: random.Random) -> None:
    for _ in range(times):
        await dice.choice(steps)()


async def forever(builder: IndexBuilder, dice: random.Random, has_news: asyncio.Event) -> None:
    """Rounds whenever there is news, with segments that are removed as soon as they are replaced."""
    while True:
        with suppress(LeaseLost):
            rows = await builder.round(least=dice.choice([None, 1, 25]))
            raise_if_cancelled()
            if not rows:
                has_news.clear()
                await has_news.wait()
        if dice.random() < 0.2:
            await end_grace()


@pytest.mark.parametrize("seed", range(2))
async def test_every_search_is_exact_while_others_write_purge_and_build(
    services: Services, messages: MessageRepository, index: TextIndex, other: TextIndex, seed: int
) -> None:
    dice = random.Random(seed)
    world = World(messages, services, dice)
    builders = [asyncio.create_task(forever(each.builder, dice, world.has_news)) for each in (index, other)]

    async def rebuild() -> None:
        if dice.random() < 0.3:
            await index.store.begin_rebuilding()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(repeated(40, world.write, world.write, world.purge, dice=dice))
            tasks.create_task(repeated(40, world.search, dice=dice))
        tasks.create_task(repeated(40, rebuild, expire_lease, world.search, dice=dice))
    for task in builders:
        assert not task.done(), task.exception()
        task.cancel()
    await asyncio.wait(builders)

    assert world.searches >= 100
    await world.exact()
    await expire_lease()
    await build(other)
    await world.exact()
    await end_grace()
    await build(other)
    assert await unmarked() == 0
    await world.exact()


async def test_a_message_is_found_over_the_api_as_soon_as_it_is_stored(
    services: Services, as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient
) -> None:
    index = services.content_index
    index.builder._sizes = SMALL
    has_news = asyncio.Event()
    building = asyncio.create_task(forever(index.builder, random.Random(0), has_news))
    made = await new_conversation(as_ana)
    said: list[str] = []
    for number in range(40):
        has_news.set()
        content = f"today's number {number} is 第{number}号"
        said.append((await say(as_ana, made, content))["id"])
        assert await found_over_http(as_ana, q=content) == [said[-1]]
        if number % 10 == 0:
            assert sorted(await found_over_http(as_ana, q="today's number")) == sorted(said)
            assert await found_over_http(as_ben, q=content) == []
    assert not building.done()
    building.cancel()
    await asyncio.wait({building})


async def test_a_streaming_message_waits_and_is_found_as_it_is(
    services: Services, messages: MessageRepository, index: TextIndex
) -> None:
    home = ObjectId()
    [id] = await store(messages, "to begin with", conversation=home, status="streaming")
    others = await store(messages, *["finished"] * 12)
    await build(index)

    assert await found(messages, "begin") == [id]
    assert await index.unmarked() == 0  # it does not count
    await messages.finish(id, {"content": "in the end quetzal", "status": "complete"})
    assert await found(messages, "begin") == []
    assert await found(messages, "quetzal") == [id]
    assert await index.unmarked() == 1
    await build(index)
    assert await index.unmarked() == 0
    assert await found(messages, "quetzal") == [id]
    assert await found(messages, "begin") == []
    assert await found(messages, "finished") == sorted(others)
    await messages.purge(home)
    await build(index)
    await end_grace()
    await build(index)
    assert await traces(home, [id], "quetzal") == []


async def test_a_message_that_is_hidden_or_shown_again_needs_no_new_segment(
    services: Services, messages: MessageRepository, index: TextIndex
) -> None:
    home = ObjectId()
    ids = await store(messages, *["tea"] * 12, conversation=home)
    await build(index)
    await messages.hide(home)
    assert await found(messages, "tea") == []
    await messages.show(home)
    assert await found(messages, "tea") == sorted(ids)
    assert await index.unmarked() == 0
    row = await messages.get(EVERYTHING, ids[0])
    assert row["version"] == 1
