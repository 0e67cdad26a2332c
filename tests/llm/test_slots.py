"""Slots: a limit, a bounded queue, and callers that take turns."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kit.errors import Unavailable
from app.llm.provider import Served
from app.llm.slots import Slots
from tests.llm.conftest import MakeModels, ask, collect, collect_into, fail
from tests.upstream import Upstream


async def test_a_free_slot_is_taken_without_waiting() -> None:
    slots = Slots(2, 0)
    assert [slots.take(), slots.take(), slots.take()] == [True, True, False]
    assert (slots.is_full, slots.waiting) == (True, 0)
    slots.release()
    assert (slots.is_full, slots.take()) == (False, True)


async def queued(slots: Slots, callers: str) -> list["asyncio.Task[None]"]:
    """A task for each caller, in this order, that waits for a slot."""
    tasks = []
    for caller in callers:
        tasks.append(asyncio.create_task(slots.wait(caller, 60)))
        await asyncio.sleep(0)
    return tasks


async def served(slots: Slots, callers: str, tasks: list["asyncio.Task[None]"]) -> str:
    """Whose turn it is when one slot is released again and again."""
    order = ""
    pending = dict(zip(tasks, callers, strict=True))
    while pending:
        slots.release()
        [done], _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        order += pending.pop(done)
    return order


@pytest.mark.parametrize(
    ("callers", "order"),
    [("aaab", "abaa"), ("aaabbc", "abcaba"), ("abcabc", "abcabc"), ("aaa", "aaa")],
)
async def test_callers_take_turns(callers: str, order: str) -> None:
    slots = Slots(1, 10)
    slots.take()
    tasks = await queued(slots, callers)
    assert slots.waiting == len(callers)
    assert await served(slots, callers, tasks) == order


async def test_within_one_caller_the_first_is_the_first() -> None:
    slots = Slots(1, 10)
    slots.take()
    tasks = await queued(slots, "aaa")
    for number, task in enumerate(tasks, 1):
        slots.release()
        await task
        assert not any(later.done() for later in tasks[number:])


async def test_waiting_has_an_end() -> None:
    slots = Slots(1, 1)
    slots.take()
    with pytest.raises(TimeoutError):
        await slots.wait("a", 0.01)
    assert (slots.waiting, slots.is_full) == (0, False)


async def test_who_is_cancelled_when_the_turn_has_come_gives_it_back() -> None:
    slots = Slots(1, 10)
    slots.take()
    first, second = await queued(slots, "aa")
    slots.release()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert not slots.take()
    slots.release()
    assert slots.take()


def test_nothing_is_lost_whatever_is_cancelled() -> None:
    @given(st.integers(1, 3), st.text("abc", min_size=1, max_size=8), st.lists(st.integers(0, 9), max_size=12))
    def check(limit: int, callers: str, actions: list[int]) -> None:
        asyncio.run(_play(limit, callers, actions))

    check()


async def _hold(slots: Slots, caller: str, held: list[str]) -> None:
    await slots.wait(caller, 60)
    held.append(caller)


async def _play(limit: int, callers: str, actions: list[int]) -> None:
    """Whatever the order of releases and cancellations: afterwards there are as many slots as before."""
    slots = Slots(limit, 100)
    held = ["first" for _ in range(limit) if slots.take()]
    tasks = [asyncio.create_task(_hold(slots, caller, held)) for caller in callers]
    await asyncio.sleep(0)
    for action in actions:
        if action < len(tasks):
            tasks[action].cancel()
        elif held:
            held.pop()
            slots.release()
        if action % 2:
            await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for _ in held:
        slots.release()
    assert slots.waiting == 0
    assert [slots.take() for _ in range(limit + 1)] == [True] * limit + [False]


async def test_one_more_call_than_there_are_slots_waits(upstream: Upstream, make_models: MakeModels) -> None:
    models = make_models(max_concurrency=1)
    running = asyncio.create_task(collect(models, ask("fake:drip")))
    await upstream.arrived.acquire()
    waiting = asyncio.create_task(collect(models, ask("fake:tokens")))
    for _ in range(4):
        upstream.gate.release()
    assert len(await running) == len(await waiting) == 6
    assert [each.body["model"] for each in upstream.requests] == ["drip", "tokens"]


async def test_waiting_callers_take_turns_at_the_upstream(upstream: Upstream, make_models: MakeModels) -> None:
    models = make_models(max_concurrency=1)
    tasks = [asyncio.create_task(collect(models, ask("fake:drip"), on_behalf_of="ana"))]
    await upstream.arrived.acquire()
    for caller, model in (("ana", "a1"), ("ana", "a2"), ("bob", "b1")):
        tasks.append(asyncio.create_task(collect(models, ask(f"fake:{model}"), on_behalf_of=caller)))
        await asyncio.sleep(0)
    for _ in range(4):
        upstream.gate.release()
    await asyncio.gather(*tasks)
    assert [each.body["model"] for each in upstream.requests] == ["drip", "a1", "b1", "a2"]


async def test_a_full_queue_refuses_at_once(upstream: Upstream, make_models: MakeModels) -> None:
    models = make_models(max_concurrency=1, max_queue=1, fallbacks={"fake:x": ["spare:tokens"]})
    running = asyncio.create_task(collect(models, ask("fake:stall-first")))
    await upstream.arrived.acquire()
    models.admit("fake:tokens")
    waiting = asyncio.create_task(collect(models, ask("fake:tokens")))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as refusal:
        models.admit("fake:tokens")
    assert refusal.value.headers["Retry-After"] == "1"
    assert refusal.value.detail == "fake has too many calls waiting for it."
    chunks, error = await fail(models, ask("fake:tokens"))
    assert (chunks, error.code, len(error.attempts)) == ([], "upstream_unavailable", 1)
    models.admit("fake:x")
    served, *_ = await collect(models, ask("fake:x"))
    assert isinstance(served, Served)
    assert (served.provider, served.attempts[0].code) == ("spare", "upstream_unavailable")
    running.cancel()
    assert len(await waiting) == 6
    models.admit("fake:tokens")


async def test_a_call_does_not_wait_for_ever(upstream: Upstream, make_models: MakeModels) -> None:
    models = make_models(max_concurrency=1, queue_timeout=0.02)
    running = asyncio.create_task(collect(models, ask("fake:stall-first")))
    await upstream.arrived.acquire()
    _, error = await fail(models, ask("fake:tokens"))
    assert (error.code, error.message) == (
        "upstream_unavailable",
        "fake had no room for this call within 0.02 s.",
    )
    assert len(upstream.requests) == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(await collect(models, ask("fake:tokens"))) == 6


@pytest.mark.parametrize("model", ["tokens", "500", "cut-middle", "garbage"])
async def test_every_end_gives_the_slot_back(make_models: MakeModels, model: str) -> None:
    models = make_models(max_concurrency=1, max_queue=0, max_retries=0, breaker_failures=99)
    for _ in range(3):
        models.admit("fake:tokens")
        with suppress(Exception):
            await collect_into([], models.stream(ask(f"fake:{model}")))
    assert len(await collect(models, ask("fake:tokens"))) == 6
