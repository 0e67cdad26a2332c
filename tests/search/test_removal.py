"""What was removed for good leaves nothing behind in the index, and hides nothing else."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.conversations.repository import MessageRepository
from app.kit.repository import EVERYTHING
from app.search.blocks import Block
from app.search.index import TextIndex
from app.search.keys import Keys
from app.search.lookup import Lookup
from app.search.model import SearchRemoved
from app.search.store import IndexStore, Place
from app.search.terms import group_term
from app.services import Services
from tests.api.calls import new_conversation, say
from tests.conftest import Person
from tests.search.stored import (
    START,
    age_scrubbing,
    build,
    end_grace,
    expire_lease,
    found,
    outlined,
    segment_ids,
    store,
    traces,
)

pytestmark = pytest.mark.mongod

COINED = "qvxzkwjy"
"""No part of it is a part of another message."""


class World:
    """A conversation that goes, among others that stay."""

    def __init__(self, messages: MessageRepository) -> None:
        self.messages = messages
        self.id = ObjectId()
        self.ids: list[ObjectId] = []
        self.others: list[ObjectId] = []

    async def grow(self, *, times: int = 1) -> None:
        for _ in range(times):
            contents = [f"tea {number} {COINED}" for number in range(20)]
            self.ids += await store(self.messages, *contents, conversation=self.id)
            self.others += await store(self.messages, *[f"tea and coffee {number}" for number in range(30)])

    async def is_gone(self) -> bool:
        assert await found(self.messages, "tea") == sorted(self.others)
        assert await found(self.messages, COINED) == []
        return await traces(self.id, self.ids, COINED) == []


@pytest.fixture
def world(messages: MessageRepository) -> World:
    return World(messages)


async def finished(index: TextIndex) -> None:
    await build(index)
    await end_grace()
    await build(index)


async def test_a_purged_conversation_is_taken_out_of_every_segment(world: World, index: TextIndex) -> None:
    for _ in range(5):
        await world.grow()
        await build(index)
    assert await traces(world.id, world.ids, COINED) == ["group", "word", "keys", "messages"]
    await world.messages.purge(world.id)
    assert await found(world.messages, "tea") == sorted(world.others)

    await finished(index)
    assert await world.is_gone()


async def test_one_that_was_purged_over_the_api_is_gone_as_well(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    made, other = await new_conversation(as_ana), await new_conversation(as_ana)
    ids = [ObjectId((await say(as_ana, made, f"tea {COINED} {number}"))["id"]) for number in range(3)]
    kept = await say(as_ana, other, "tea and coffee")
    await build(services.content_index)
    await services.privacy.purging.purge(EVERYTHING, ObjectId(made["id"]))

    assert await SearchRemoved.get_pymongo_collection().distinct("_id") == [ObjectId(made["id"])]
    services.content_index.builder._scrub_at = 0  # as if a minute had gone by
    await finished(services.content_index)
    assert await traces(ObjectId(made["id"]), ids, COINED) == []
    assert await found(services.conversations.messages, "tea") == [ObjectId(kept["id"])]


async def test_outlines_show_what_was_removed_for_a_day_at_most(messages: MessageRepository, index: TextIndex) -> None:
    gone = ObjectId(bytes(12))  # whose term is the first of all
    removed = await store(messages, *[f"tea {COINED}"] * 10, conversation=gone, created_at=START)
    kept = await store(messages, *["tea and coffee"] * 30)
    await build(index)
    await messages.purge(gone)
    await finished(index)
    [scrubbed] = await segment_ids()
    terms, ids = await outlined()
    assert group_term(gone) in terms
    assert not ids.isdisjoint(removed)

    await age_scrubbing()
    await finished(index)
    [fresh] = await segment_ids()
    terms, ids = await outlined()
    assert fresh != scrubbed
    assert group_term(gone) not in terms
    assert ids.isdisjoint(removed)
    assert await found(messages, "tea") == sorted(kept)
    await age_scrubbing()
    await finished(index)
    assert await segment_ids() == [fresh], "nothing was taken out of this one"


async def test_one_that_was_purged_before_it_was_indexed(world: World, index: TextIndex) -> None:
    await world.grow()
    await world.messages.purge(world.id)

    await finished(index)
    assert await world.is_gone()


async def test_one_that_was_purged_while_its_messages_were_being_indexed(
    world: World, index: TextIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.grow()
    begin = IndexStore.begin

    async def purge_and_begin(self: IndexStore, id: ObjectId) -> None:
        await world.messages.purge(world.id)
        await begin(self, id)

    with monkeypatch.context() as patch:
        patch.setattr(IndexStore, "begin", purge_and_begin)
        assert await index.builder.round() == 50
    assert "word" in await traces(world.id, world.ids, COINED)

    await finished(index)
    assert await world.is_gone()


@pytest.mark.parametrize("rounds", [0, 1, 2, 4])
async def test_one_that_was_purged_during_a_rebuilding(world: World, index: TextIndex, rounds: int) -> None:
    await world.grow(times=3)
    await build(index)
    await index.store.begin_rebuilding()
    for _ in range(rounds):
        await index.builder.round()
    await world.messages.purge(world.id)

    await finished(index)
    assert await index.store.rebuilt() is None
    assert await world.is_gone()


async def test_a_removal_that_was_cut_short_is_done_to_the_end(
    world: World, index: TextIndex, other: TextIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever: so many blocks and chunks were written when the process ended."""
    await world.grow()
    await store(world.messages, *[f"{number * number} {chr(0x4E00 + number)} {number:x}" * 9 for number in range(300)])
    await build(index)
    await world.messages.purge(world.id)
    await index.builder.release()
    written = 0
    while await is_killed_after(written, index, monkeypatch):
        written += 1
        await expire_lease()
    assert written > 1
    await index.builder.release()
    await finished(other)
    assert await world.is_gone()


async def is_killed_after(written: int, index: TextIndex, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the process ends when it has changed so many blocks and chunks."""
    rewrite = IndexStore.rewrite
    left = written

    async def call(self: IndexStore, blocks: Mapping[Place, Block], keys: Mapping[Place, Keys]) -> None:
        nonlocal left
        changes: list[tuple[dict[Place, Block], dict[Place, Keys]]] = [({at: each}, {}) for at, each in blocks.items()]
        changes += [({}, {at: chunk}) for at, chunk in keys.items()]
        for change in changes:
            if not left:
                raise asyncio.CancelledError
            left -= 1
            await rewrite(self, *change)

    with monkeypatch.context() as patch:
        patch.setattr(IndexStore, "rewrite", call)
        try:
            await build(index)
        except asyncio.CancelledError:
            return True
    return False


@pytest.mark.parametrize("sort", ["created_at", "-created_at"])
@pytest.mark.parametrize("kept", [0, 1])
async def test_a_removal_under_a_search_hides_no_other_message(
    messages: MessageRepository, index: TextIndex, monkeypatch: pytest.MonkeyPatch, sort: str, kept: int
) -> None:
    """The search has seen lists with the removed rows, and sees keys without them."""
    gone = ObjectId()
    others: list[ObjectId] = []
    for number in range(200):
        is_kept = number % 2 == kept
        home = ObjectId() if is_kept else gone
        ids = await store(messages, f"tea {number}", created_at=START, conversation=home)
        others += ids if is_kept else []
    await build(index)
    read_keys, is_first = Lookup._read_keys, True

    async def purge_and_read(self: Lookup, *arguments: Any) -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            await messages.purge(gone)
            await build(index)
        await read_keys(self, *arguments)

    monkeypatch.setattr(Lookup, "_read_keys", purge_and_read)
    assert await found(messages, "tea", sort=sort) == others
