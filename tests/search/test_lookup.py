"""Looking up: segments may go while they are read, and what is asked of the database is answered by the right index."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from bson import ObjectId
from cachetools import LRUCache

from app.conversations.model import UNMARKED
from app.conversations.repository import MessageRepository
from app.database import Database
from app.kit.errors import QueryTooExpensive
from app.search.index import TextIndex
from app.search.keys import CHUNK, Chunk
from app.search.lookup import Demand, Lookup
from app.search.plans import Sought
from app.search.spans import HIGHEST, LOWEST, Span
from app.search.store import IndexStore, PartsGone, Place
from tests.conversations.profiling import profiled
from tests.search.stored import build, end_grace, found, segment_ids, store

pytestmark = pytest.mark.mongod

TEA = Sought.of([("tea",)], owner=None, group=None)


async def segments(messages: MessageRepository, index: TextIndex, count: int) -> list[ObjectId]:
    """So many segments of messages with tea, and a few in none; answers the ids."""
    ids: list[ObjectId] = []
    for _ in range(count):
        ids += await store(messages, *[f"tea {number}" for number in range(40)])
        assert await index.builder.round() == 40
    return ids + await store(messages, *["tea"] * 5)


async def replace_all(index: TextIndex) -> None:
    """Make one segment of all, and remove the others at once."""
    await build(index)
    await end_grace()
    await build(index)


async def test_a_segment_that_goes_between_two_batches_is_noticed(
    messages: MessageRepository, index: TextIndex
) -> None:
    await store(messages, *["tea"] * 400)
    await build(index)
    assert TEA is not None
    lookup = Lookup(index.store)
    batches = lookup.keys(TEA, Span(LOWEST, HIGHEST, is_descending=False), Demand(64))

    assert await anext(batches)
    for id in await segment_ids():
        await index.store.drop(id)
    with pytest.raises(PartsGone):
        [keys async for keys in batches]


@pytest.mark.parametrize("sort", ["created_at", "-created_at"])
@pytest.mark.parametrize("reading", ["blocks", "chunks", "outlines"])
async def test_a_search_whose_segments_go_begins_again(
    messages: MessageRepository,
    index: TextIndex,
    monkeypatch: pytest.MonkeyPatch,
    sort: str,
    reading: str,
) -> None:
    ids = await segments(messages, index, 3)
    method: Any = getattr(IndexStore, reading)
    gone = 0

    async def replace_and_read(self: IndexStore, places: Any) -> Any:
        nonlocal gone
        if self is index.lookup._store and asyncio.current_task() is searching and not gone:
            gone += 1
            before = await segment_ids()
            await asyncio.create_task(replace_all(index))
            assert set(before).isdisjoint(await segment_ids())
        return await method(self, places)

    monkeypatch.setattr(IndexStore, reading, replace_and_read)
    searching = asyncio.create_task(found(messages, "tea", sort=sort))
    assert await searching == sorted(ids)
    assert gone == 1


async def test_a_search_that_never_finds_its_segments_is_no_answer(
    messages: MessageRepository, index: TextIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    await segments(messages, index, 1)
    ids = await segment_ids()

    async def old_ids(self: IndexStore) -> list[ObjectId]:
        return [*ids, ObjectId()]

    monkeypatch.setattr(IndexStore, "segment_ids", old_ids)
    with pytest.raises(QueryTooExpensive):
        await found(messages, "tea")


async def test_outlines_are_forgotten_with_their_segments(messages: MessageRepository, index: TextIndex) -> None:
    await segments(messages, index, 3)
    await found(messages, "tea")
    assert set(index.lookup._outlines) == set(await segment_ids())
    await replace_all(index)
    await found(messages, "tea")

    assert set(index.lookup._outlines) == set(await segment_ids())
    assert len(index.lookup._outlines) == 2


@pytest.mark.parametrize("sort", ["created_at", "-created_at"])
async def test_messages_are_read_by_their_ids_and_along_the_index_of_those_that_wait(
    messages: MessageRepository, index: TextIndex, empty_database: Database, sort: str
) -> None:
    ids = await segments(messages, index, 3)
    await store(messages, *["coffee"] * 300)
    await build(index)
    await store(messages, *["coffee"] * 20)
    async with profiled(empty_database) as profile:
        assert await found(messages, "tea", sort=sort, limit="200") == sorted(ids)
        entries = await profile.read("messages")

    assert {entry["planSummary"].partition(" ")[0] for entry in entries} == {"IXSCAN"}
    by_id = [
        entry for entry in entries if "_id: 1" in entry["planSummary"] and "created_at" not in entry["planSummary"]
    ]
    waiting = [entry for entry in entries if entry not in by_id]
    assert sum(entry["docsExamined"] for entry in by_id) == len(ids)
    assert {entry["command"]["hint"] for entry in by_id} == {"_id_"}
    assert {entry["command"]["hint"] for entry in waiting} == {UNMARKED}
    assert all(entry["docsExamined"] == 20 for entry in waiting)
    assert not any(entry.get("hasSortStage") for entry in waiting)


async def test_a_builder_reads_along_the_index_of_those_that_wait(
    messages: MessageRepository, index: TextIndex, empty_database: Database
) -> None:
    await segments(messages, index, 3)
    await store(messages, *["tea"] * 40)
    async with profiled(empty_database) as profile:
        assert await index.unmarked() == 45
        assert await index.builder.round() == 45
        entries = await profile.read("messages")

    assert not [entry for entry in entries if "COLLSCAN" in entry.get("planSummary", "")]
    assert not any(entry.get("hasSortStage") for entry in entries)
    assert {entry["docsExamined"] for entry in entries} <= {10, 45}


async def test_keys_are_read_once(
    messages: MessageRepository, index: TextIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await store(messages, *["tea"] * 300)
    await build(index)
    places: list[Place] = []
    chunks = IndexStore.chunks

    async def noted(self: IndexStore, wanted: Iterable[Place]) -> dict[Place, Chunk]:
        places.extend(wanted)
        return await chunks(self, wanted)

    monkeypatch.setattr(IndexStore, "chunks", noted)
    assert await found(messages, "tea") == ids
    assert await found(messages, "tea") == ids
    assert 0 < len(places) == len(set(places))


async def test_no_more_keys_than_that_stay_in_memory(messages: MessageRepository, index: TextIndex) -> None:
    ids = await store(messages, *["tea"] * (3 * CHUNK))
    await build(index)
    index.lookup._chunks = LRUCache(1)

    assert await found(messages, "tea") == ids
    assert len(index.lookup._chunks) == 1


async def test_what_was_removed_or_merged_behind_keys_in_memory_is_not_found(
    messages: MessageRepository, index: TextIndex
) -> None:
    removed = ObjectId()
    await store(messages, *["tea"] * 40, conversation=removed)
    kept = await store(messages, *["tea"] * 40)
    await build(index)
    assert len(await found(messages, "tea")) == 80

    await messages.purge(removed)
    assert await found(messages, "tea") == kept
    await replace_all(index)
    assert await found(messages, "tea") == kept
