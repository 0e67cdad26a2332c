"""Rows of a large segment are gathered over several rounds: all of them become part of the index together, or none."""

import asyncio
from datetime import timedelta

import pytest
from bson import ObjectId

from app.conversations.repository import MessageRepository
from app.search import gathering
from app.search.index import TextIndex
from app.search.register import LeaseLost
from app.search.store import IndexStore
from app.search.table import Table
from tests.search.stored import (
    START,
    build,
    end_grace,
    expire_lease,
    found,
    marks,
    segment_ids,
    store,
    stored_ids,
    traces,
    unmarked,
    written_segments,
)
from tests.search.test_builder import Held, Killed, killed_before

pytestmark = pytest.mark.mongod


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_PIECE_ROWS", 10)


async def finished(index: TextIndex) -> None:
    """Until nothing is left to do, with what was replaced gone."""
    await build(index)
    await end_grace()
    await build(index)


async def test_pieces_become_one_segment_and_are_found_all_the_while(
    messages: MessageRepository, index: TextIndex
) -> None:
    ids = await store(messages, *[f"tea {number}" for number in range(35)])
    for at_hand in (10, 20, 30):
        assert await index.builder.round() == 10
        assert (index.builder.at_hand, await segment_ids()) == (at_hand, [])
        ids += await store(messages, "late tea", created_at=START + timedelta(seconds=at_hand))
        assert await found(messages, "tea") == sorted(ids)

    assert await index.builder.round() == 8
    assert index.builder.at_hand == 0
    assert len(await segment_ids()) == 1
    assert await found(messages, "tea") == sorted(ids)
    await build(index)
    assert (await marks(), await unmarked()) == (38, 0)
    assert sorted(await stored_ids()) == sorted(ids)


async def test_a_segment_has_no_more_rows_than_it_may(messages: MessageRepository, index: TextIndex) -> None:
    ids = await store(messages, *["tea"] * 65)  # of at most 60
    while len(await segment_ids()) < 1:
        await index.builder.round()
    assert len(await stored_ids()) == 60

    await finished(index)
    assert sorted(await stored_ids()) == sorted(ids)


async def test_long_texts_make_segments_of_few_rows(
    messages: MessageRepository, index: TextIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "_MOST_CHARACTERS", 100)
    ids = await store(messages, *["tea and coffee"] * 25)
    while not await segment_ids():
        await index.builder.round()
    assert len(await stored_ids()) == 10

    await finished(index)
    assert sorted(await stored_ids()) == sorted(ids)
    assert await found(messages, "coffee") == sorted(ids)


async def test_what_is_removed_between_two_pieces_leaves_no_trace(
    messages: MessageRepository, index: TextIndex
) -> None:
    home = ObjectId()
    gone = await store(messages, *["tea xylograph"] * 15, conversation=home)
    kept = await store(messages, *["tea"] * 15)
    await index.builder.round()
    await index.builder.round()
    await messages.purge(home)
    await build(index)

    assert await found(messages, "tea") == sorted(kept)
    assert await traces(home, gone, "xylograph") == []


async def test_what_is_at_hand_is_dropped_when_another_process_has_built_meanwhile(
    messages: MessageRepository, index: TextIndex, other: TextIndex
) -> None:
    """It took a conversation out, which is at hand here, and let go of the lease again."""
    home = ObjectId()
    gone = await store(messages, *["tea xylograph"] * 15, conversation=home)
    kept = await store(messages, *["tea"] * 15)
    await index.builder.round()
    await index.builder.round()
    await expire_lease()
    await messages.purge(home)
    await build(other)
    await other.builder.release()

    with pytest.raises(LeaseLost):
        await index.builder.round()
    await finished(index)
    assert await written_segments() == {*await segment_ids()}
    assert sorted(await stored_ids()) == sorted(kept)
    assert await traces(home, gone, "xylograph") == []


@pytest.mark.parametrize(("owner", "name", "calls"), [(Table, "unmarked", 1), (IndexStore, "finish", 0)])
async def test_a_round_that_fails_begins_all_pieces_again(
    messages: MessageRepository,
    index: TextIndex,
    monkeypatch: pytest.MonkeyPatch,
    owner: type[object],
    name: str,
    calls: int,
) -> None:
    ids = await store(messages, *["tea"] * 35)
    with monkeypatch.context() as patch:
        killed_before(patch, owner, name, calls=calls)
        with pytest.raises(Killed):
            await build(index)
    assert index.builder.at_hand == 0
    assert await found(messages, "tea") == sorted(ids)

    await finished(index)
    assert sorted(await stored_ids()) == sorted(ids)
    assert await found(messages, "tea") == sorted(ids)


async def test_the_lease_is_kept_while_many_marks_are_set(
    messages: MessageRepository, index: TextIndex, other: TextIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or another process would index the rows again that have none yet."""
    monkeypatch.setattr("app.search.builder._MARKS_AT_ONCE", 10)
    await store(messages, *["tea"] * 25)
    held = Held(monkeypatch, Table, "mark")
    slow = asyncio.create_task(build(index))
    await held.is_reached.wait()
    await expire_lease()
    assert await other.builder.round() is not None
    held.let_go()

    with pytest.raises(LeaseLost):
        await slow
    await build(other)
    assert await unmarked() == 0
    assert len(await found(messages, "tea")) == 25


async def test_a_rebuilding_tells_what_is_at_hand(messages: MessageRepository, index: TextIndex) -> None:
    ids = await store(messages, *["tea"] * 55)
    await build(index)
    dones = [progress.done async for progress in index.rebuild()]

    assert dones == sorted(dones)
    assert {10, 20, 30, 40, 50} <= set(dones)
    assert await found(messages, "tea") == sorted(ids)
