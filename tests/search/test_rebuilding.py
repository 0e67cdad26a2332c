"""All segments are made anew while the index is searched and added to; whoever is cut short is followed by another."""

import pytest
from bson import ObjectId

from app.conversations.repository import MessageRepository
from app.search.index import TextIndex
from app.search.register import LeaseLost
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


class Growing:
    """Messages, more with each step."""

    def __init__(self, messages: MessageRepository) -> None:
        self.messages = messages
        self.ids: list[ObjectId] = []

    async def grow(self, count: int) -> None:
        self.ids += await store(self.messages, *[f"tea {number}" for number in range(count)])

    async def is_found(self) -> bool:
        return await found(self.messages, "tea") == sorted(self.ids)


@pytest.fixture
def world(messages: MessageRepository) -> Growing:
    return Growing(messages)


async def test_all_is_found_at_every_step_and_nothing_twice(world: Growing, index: TextIndex) -> None:
    await world.grow(300)
    await build(index)
    old = await segment_ids()
    await index.store.begin_rebuilding()
    steps = 0
    while await index.store.rebuilt() is not None:
        await world.grow(4)
        assert await index.builder.round() is not None
        assert await world.is_found()
        steps += 1
        assert steps < 50
    await build(index)
    assert set(old).isdisjoint(await segment_ids())
    await end_grace()
    await build(index)
    assert await world.is_found()
    assert await written_segments() == set(await segment_ids())
    assert await unmarked() == 0
    assert await marks() == len(world.ids)


async def test_an_interrupted_rebuilding_goes_on_in_another_process(
    world: Growing, index: TextIndex, other: TextIndex
) -> None:
    await world.grow(300)
    await build(index)
    old = await segment_ids()
    progress = index.rebuild()
    for _ in range(4):
        step = await anext(progress)
        await world.grow(3)
        assert await world.is_found()
    assert 0 < step.done < step.total
    await progress.aclose()
    await index.aclose()
    assert await index.store.rebuilt() == step.done

    dones = [step.done async for step in other.rebuild()]
    assert dones[0] == step.done
    assert dones == sorted(dones)
    assert dones[-1] >= 300
    assert set(old).isdisjoint(await segment_ids())
    await end_grace()
    await build(other)
    assert await world.is_found()
    assert len(await stored_ids()) < 2 * len(world.ids)  # what came meanwhile is in two segments until they are merged


async def test_one_that_is_killed_is_followed_by_another(world: Growing, index: TextIndex, other: TextIndex) -> None:
    await world.grow(200)
    await build(index)
    await index.store.begin_rebuilding()
    await index.builder.round()
    await expire_lease()
    await other.store.begin_rebuilding()  # asked for again: the same one goes on
    assert await other.store.rebuilt() == 60
    await build(other)

    assert await other.store.rebuilt() is None
    assert await world.is_found()
    await end_grace()
    await build(other)
    assert await written_segments() == set(await segment_ids())
    assert sorted(await stored_ids()) == sorted(world.ids)


async def test_an_empty_table_is_rebuilt_at_once(world: Growing, index: TextIndex) -> None:
    assert [(step.done, step.total) async for step in index.rebuild()] == [(0, 0), (0, 0), (0, 0)]
    assert await segment_ids() == []


async def test_catching_up_indexes_what_waits(world: Growing, index: TextIndex) -> None:
    await world.grow(150)
    steps = [(step.done, step.total) async for step in index.catch_up()]

    assert steps[:4] == [(0, 150), (60, 150), (120, 150), (150, 150)]
    assert set(steps[4:]) <= {(150, 150)}
    assert await unmarked() == 0
    assert await world.is_found()
    assert [(step.done, step.total) async for step in index.catch_up()] == [(0, 0)]


async def test_catching_up_beside_a_server_leaves_a_few_to_it(
    world: Growing, index: TextIndex, other: TextIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server holds the lease for good and finds so few rows not worth a segment."""
    monkeypatch.setattr("app.search.index._TURN_SECONDS", 0)
    await index.builder.round()
    await world.grow(9)

    assert [(step.done, step.total) async for step in other.catch_up()] == [(0, 9), (0, 9)]
    assert await world.is_found()
    await world.grow(30)
    progress = other.catch_up()
    assert (await anext(progress)).done == 0
    assert (await anext(progress)).done == 0
    assert await index.builder.round() == 39  # the server's
    assert [(step.done, step.total) async for step in progress] == [(39, 39)]


async def test_losing_the_lease_is_no_reason_to_stop(
    world: Growing, index: TextIndex, other: TextIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.search.index._TURN_SECONDS", 0)
    await world.grow(30)
    builder_round, is_first = index.builder.round, True

    async def lose_it_once(*, least: int | None = None) -> int | None:
        nonlocal is_first
        if is_first:
            is_first = False
            raise LeaseLost
        return await builder_round(least=least)

    monkeypatch.setattr(index.builder, "round", lose_it_once)
    assert [step.done async for step in index.catch_up()][-1] == 30


async def test_whoever_is_done_lets_others_build_at_once(world: Growing, index: TextIndex, other: TextIndex) -> None:
    await world.grow(30)
    assert [step.done async for step in index.catch_up()][-1] == 30
    assert await other.builder.round() is None
    await index.aclose()
    assert await other.builder.round() == 0
