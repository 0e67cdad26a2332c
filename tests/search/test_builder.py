"""Building: one process at a time, and whatever it leaves half done is no part of the index."""

import asyncio
from typing import Any

import pytest
from bson import ObjectId

from app.conversations.repository import MessageRepository
from app.search.builder import Sizes
from app.search.index import TextIndex
from app.search.register import LeaseLost
from app.search.store import IndexStore
from app.search.table import Table
from tests.search.stored import (
    build,
    end_grace,
    expire_lease,
    found,
    marks,
    segment_ids,
    store,
    stored_ids,
    unmarked,
    written_segments,
)

pytestmark = pytest.mark.mongod

WORDS = [f"coffee number {number}" for number in range(40)]


class Killed(Exception):
    """The process ended here."""


def killed_before(monkeypatch: pytest.MonkeyPatch, owner: type[object], name: str, *, calls: int = 0) -> None:
    """Let the process end before it calls a method, once it has called it so many times."""
    method: Any = getattr(owner, name)
    left = calls

    async def call(self: object, *args: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return await method(self, *args, **options)

    monkeypatch.setattr(owner, name, call)


class Held:
    """A method that waits, when it is called first, until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type[object], name: str) -> None:
        self._method: Any = getattr(owner, name)
        self._is_first = True
        self.is_reached, self._may_go = asyncio.Event(), asyncio.Event()

        async def call(*args: Any, **options: Any) -> Any:
            if self._is_first:
                self._is_first = False
                self.is_reached.set()
                await self._may_go.wait()
            return await self._method(*args, **options)

        monkeypatch.setattr(owner, name, call)

    def let_go(self) -> None:
        self._may_go.set()


async def segments_of(messages: MessageRepository, index: TextIndex, count: int, *contents: str) -> list[ObjectId]:
    """So many segments, each of the same messages; answers the ids of all."""
    ids: list[ObjectId] = []
    for _ in range(count):
        ids += await store(messages, *contents)
        assert await index.builder.round() == len(contents)
    return ids


async def test_one_process_builds_and_the_others_wait(
    messages: MessageRepository, index: TextIndex, other: TextIndex
) -> None:
    await store(messages, *WORDS)

    assert await index.builder.round() == 40
    assert await other.builder.round() is None
    assert await index.builder.round() == 0
    await index.builder.release()
    assert await other.builder.round() == 0
    assert await index.builder.round() is None


async def test_whoever_is_silent_for_too_long_is_followed_by_another(
    messages: MessageRepository, index: TextIndex, other: TextIndex
) -> None:
    await index.builder.round()
    await expire_lease()

    assert await other.builder.round() == 0
    assert await index.builder.round() is None
    await index.builder.release()  # what it does not hold it cannot give away
    assert await index.builder.round() is None


async def test_a_few_rows_are_not_worth_a_segment(messages: MessageRepository, index: TextIndex) -> None:
    ids = await store(messages, *WORDS[:9])

    assert await index.builder.round() == 0
    assert await found(messages, "coffee") == sorted(ids)
    assert await index.builder.round(least=1) == 9
    assert await found(messages, "coffee") == sorted(ids)


@pytest.mark.parametrize("step", ["write_blocks", "write_keys", "finish", "replace"])
async def test_what_a_killed_process_began_is_no_part_of_the_index_and_is_removed(
    messages: MessageRepository, index: TextIndex, other: TextIndex, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    ids = await store(messages, *WORDS)
    with monkeypatch.context() as patch:
        killed_before(patch, IndexStore, step)
        with pytest.raises(Killed):
            await index.builder.round()

    [stray] = await written_segments()
    assert await segment_ids() == []
    assert await found(messages, "coffee") == sorted(ids)
    await expire_lease()
    assert await other.builder.round() == 40
    assert await written_segments() == {*await segment_ids()}
    assert stray not in await segment_ids()
    assert await found(messages, "coffee") == sorted(ids)


@pytest.mark.parametrize("step", ["write_blocks", "write_keys", "finish", "replace"])
async def test_a_merge_that_was_cut_short_is_done_again(
    messages: MessageRepository, index: TextIndex, other: TextIndex, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    ids = await segments_of(messages, index, 3, *WORDS)
    assert len(await segment_ids()) == 3
    with monkeypatch.context() as patch:
        killed_before(patch, IndexStore, step)
        with pytest.raises(Killed):
            await index.builder.round()

    assert await found(messages, "coffee") == sorted(ids)
    await expire_lease()
    await build(other)
    [merged] = await segment_ids()
    assert await found(messages, "coffee") == sorted(ids)
    await end_grace()
    await build(other)
    assert await written_segments() == {merged}
    assert sorted(await stored_ids()) == sorted(ids)


async def test_rows_of_a_segment_without_marks_are_found_once_and_indexed_again(
    messages: MessageRepository, index: TextIndex, other: TextIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await store(messages, *WORDS)
    with monkeypatch.context() as patch:
        killed_before(patch, Table, "mark")
        with pytest.raises(Killed):
            await index.builder.round()

    assert (len(await segment_ids()), await unmarked()) == (1, 40)
    assert await found(messages, "coffee") == sorted(ids)
    await expire_lease()
    await build(other)
    assert (await marks(), await unmarked()) == (40, 0)
    assert await found(messages, "coffee") == sorted(ids)
    await store(messages, *["tea"] * 40)  # a third segment of their size
    await build(other)
    await end_grace()
    await build(other)
    assert len(await segment_ids()) == 1
    assert len(await stored_ids()) == 80
    assert await found(messages, "coffee") == sorted(ids)


async def test_whoever_lost_the_lease_while_writing_adds_nothing(
    messages: MessageRepository, index: TextIndex, other: TextIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await store(messages, *WORDS)
    held = Held(monkeypatch, IndexStore, "write_keys")
    slow = asyncio.create_task(index.builder.round())
    await held.is_reached.wait()
    await expire_lease()
    assert await other.builder.round() == 40
    held.let_go()

    with pytest.raises(LeaseLost):
        await slow
    assert await index.builder.round() is None
    assert await written_segments() == {*await segment_ids()}, "parts that nobody knows of"
    assert len(await segment_ids()) == 1
    assert await found(messages, "coffee") == sorted(ids)


async def test_a_lease_that_was_lost_and_is_free_again_does_not_let_old_work_go_on(
    messages: MessageRepository, index: TextIndex, other: TextIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one has taken a conversation out in between, which the old blocks still have."""
    gone = ObjectId()
    ids = await segments_of(messages, index, 2, *WORDS[:20])
    await store(messages, *["zyxwvuts"] * 20, conversation=gone)
    await index.builder.round(least=1)
    held = Held(monkeypatch, IndexStore, "write_blocks")
    slow = asyncio.create_task(index.builder.round())  # merges
    await held.is_reached.wait()
    await expire_lease()
    await messages.purge(gone)
    await build(other)
    await other.builder.release()
    held.let_go()

    with pytest.raises(LeaseLost):
        await slow
    await build(index)
    await end_grace()
    await build(index)
    assert await written_segments() == {*await segment_ids()}
    assert sorted(await stored_ids()) == sorted(ids)
    assert await found(messages, "coffee") == sorted(ids)


async def test_marks_that_come_late_hide_no_row_from_a_rebuilding(
    messages: MessageRepository, index: TextIndex, other: TextIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process sets marks after its lease has ended, and its segment was replaced meanwhile."""
    ids = await store(messages, *WORDS[:5])
    held = Held(monkeypatch, Table, "mark")
    slow = asyncio.create_task(index.builder.round(least=1))
    await held.is_reached.wait()
    await expire_lease()
    await other.store.begin_rebuilding()
    while await other.builder.round():
        pass
    assert await other.store.rebuilt() is None
    held.let_go()
    await slow

    assert await marks() == 5
    assert await found(messages, "coffee") == sorted(ids)


async def test_segments_are_kept_for_a_while_and_then_removed(messages: MessageRepository, index: TextIndex) -> None:
    await segments_of(messages, index, 3, *WORDS)
    old = await segment_ids()
    await build(index)
    [new] = await segment_ids()

    assert await written_segments() == {new, *old}
    await build(index)
    assert await written_segments() == {new, *old}
    await end_grace()
    await build(index)
    assert await written_segments() == {new}


async def test_a_failed_round_is_repeated(
    messages: MessageRepository, index: TextIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same process, which then has strays of its own."""
    ids = await store(messages, *WORDS)
    with monkeypatch.context() as patch:
        killed_before(patch, IndexStore, "replace")
        with pytest.raises(Killed):
            await index.builder.round()

    await build(index)
    assert await found(messages, "coffee") == sorted(ids)
    await index.builder.release()
    await build(index)
    assert await written_segments() == {*await segment_ids()}


def test_of_segments_about_the_same_size_so_many_are_merged() -> None:
    sizes = Sizes(least=10, most=60, fanout=3, largest=1000)
    ids = [ObjectId() for _ in range(6)]

    def chosen(*rows: int) -> list[int]:
        by_id: dict[ObjectId, int] = dict(zip(ids, rows, strict=False))
        return [by_id[id] for id in sizes.to_be_merged(by_id)]

    assert chosen() == []
    assert chosen(10, 20) == []
    assert chosen(10, 20, 29) == [10, 20, 29]
    assert chosen(29, 5, 10, 20) == [5, 10, 20]
    assert chosen(10, 100, 90, 20, 200) == [90, 100, 200]
    assert chosen(334, 334, 334) == []
    assert chosen(333, 333, 333) == [333, 333, 333]
