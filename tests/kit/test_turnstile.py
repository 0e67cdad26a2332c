"""The turnstile: a limit in all and for each caller, short waits, and callers that take turns."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kit.effort import Effort
from app.kit.errors import TooManySearches
from app.kit.turnstile import Turnstile


class Visit:
    """A caller that wants in, and once inside stays until it is told to leave."""

    def __init__(self, turnstile: Turnstile, caller: str | None) -> None:
        self.caller = caller
        self.entered = asyncio.Event()
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._run(turnstile))

    async def _run(self, turnstile: Turnstile) -> None:
        async with turnstile.admitted(self.caller):
            self.entered.set()
            await self.leave.wait()

    async def end(self) -> None:
        self.leave.set()
        await self.task


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def arrive(turnstile: Turnstile, callers: Sequence[str | None]) -> list[Visit]:
    visits = []
    for caller in callers:
        visits.append(Visit(turnstile, caller))
        await settle()
    return visits


def inside(visits: Sequence[Visit]) -> str:
    return "".join(visit.caller or "-" for visit in visits if visit.entered.is_set() and not visit.leave.is_set())


async def order_of(visits: list[Visit]) -> str:
    """Who enters when those inside leave one after the other, each time the one who came first."""
    order, present = "", [visit for visit in visits if visit.entered.is_set()]
    for visit in present:
        await visit.end()
        await settle()
        fresh = [each for each in visits if each.entered.is_set() and each not in present]
        order += "".join(each.caller or "-" for each in fresh)
        present += fresh  # the loop goes on with them
    assert len(present) == len(visits)
    return order


@pytest.mark.parametrize(
    ("callers", "limit", "per_caller", "first"),
    [("aab", 2, 1, "ab"), ("aab", 2, 2, "aa"), ("abc", 2, 1, "ab"), ("aaa", 5, 3, "aaa"), ("abab", 3, 1, "ab")],
)
async def test_so_many_enter_in_all_and_of_each(callers: str, limit: int, per_caller: int, first: str) -> None:
    visits = await arrive(Turnstile(limit, per_caller=per_caller, wait_seconds=60), callers)

    assert inside(visits) == first
    await order_of(visits)


@pytest.mark.parametrize(("waiting", "order"), [("aaab", "abaa"), ("aaabbc", "abcaba"), ("abcabc", "abcabc")])
async def test_callers_take_turns_whoever_came_first(waiting: str, order: str) -> None:
    visits = await arrive(Turnstile(1, wait_seconds=60), f"z{waiting}")

    assert await order_of(visits) == order


async def test_a_flood_does_not_hold_up_another_caller() -> None:
    """`a` waits with many requests and may not enter twice; `b` passes by."""
    turnstile = Turnstile(2, per_caller=1, wait_seconds=60)
    visits = await arrive(turnstile, ["a", "a", "a", "b"])

    assert inside(visits) == "ab"
    await order_of(visits)


async def test_the_process_itself_is_never_held_up() -> None:
    turnstile = Turnstile(1, wait_seconds=60)
    visits = await arrive(turnstile, ["a", None, None])

    assert inside(visits) == "a--"
    await order_of(visits)


async def test_who_waits_too_long_is_refused_and_leaves_no_trace() -> None:
    turnstile = Turnstile(1, wait_seconds=0)
    [first] = await arrive(turnstile, "a")

    with pytest.raises(TooManySearches) as caught:
        async with turnstile.admitted("b"):
            raise AssertionError("entered")

    assert (caught.value.status, caught.value.code) == (429, "too_many_searches")
    assert int(caught.value.headers["Retry-After"]) > 0
    await first.end()
    assert inside(await arrive(turnstile, "b")) == "b"


async def test_too_many_who_wait_are_refused_at_once_but_not_others() -> None:
    turnstile = Turnstile(1, max_waiting=2, wait_seconds=60)
    visits = await arrive(turnstile, "aaa")

    with pytest.raises(TooManySearches):
        async with turnstile.admitted("a"):
            raise AssertionError("entered")

    visits += await arrive(turnstile, "b")
    assert await order_of(visits) == "aba"


async def test_who_is_cancelled_gives_the_place_back() -> None:
    turnstile = Turnstile(1, wait_seconds=60)
    holder, waiter, last = await arrive(turnstile, "abc")
    waiter.task.cancel()
    await settle()
    holder.task.cancel()
    await settle()

    assert last.entered.is_set()
    await last.end()
    assert holder.task.cancelled()
    assert waiter.task.cancelled()


async def test_who_is_cancelled_when_the_turn_has_just_come_passes_it_on() -> None:
    turnstile = Turnstile(1, wait_seconds=60)
    holder, waiter, last = await arrive(turnstile, "abc")
    holder.leave.set()
    await holder.task  # gave the place to the waiter, which does not know yet
    waiter.task.cancel()
    await settle()

    assert waiter.task.cancelled()
    assert last.entered.is_set()
    await last.end()


@given(st.lists(st.tuples(st.sampled_from(["come", "leave", "cancel"]), st.sampled_from("abc"), st.integers(0, 9))))
async def test_whatever_happens_the_limits_hold_and_nobody_is_forgotten(steps: list[tuple[str, str, int]]) -> None:
    turnstile = Turnstile(2, per_caller=1, max_waiting=99, wait_seconds=60)
    visits: list[Visit] = []
    for what, caller, number in steps:
        present = [visit for visit in visits if not visit.task.done()]
        if what == "come":
            visits.append(Visit(turnstile, caller))
        elif present:
            chosen: Any = present[number % len(present)]
            chosen.leave.set() if what == "leave" else chosen.task.cancel()
        if number % 3:
            await settle()
    await settle()

    present = [visit for visit in visits if not visit.task.done()]
    callers = {visit.caller for visit in present}
    within = [visit.caller for visit in present if visit.entered.is_set()]
    assert len(within) == len(set(within)) == min(2, len(callers))
    for visit in visits:
        visit.leave.set()
    await asyncio.gather(*(visit.task for visit in visits), return_exceptions=True)
    assert inside(await arrive(turnstile, "xy")) == "xy"


async def test_waiting_for_a_place_costs_no_time_of_the_search() -> None:
    now = 0.0

    def clock() -> float:
        return now

    turnstile = Turnstile(1, wait_seconds=60)
    [holder] = await arrive(turnstile, "a")
    async with Effort(turnstile, "b", 2, clock) as effort:
        waiting = asyncio.create_task(effort.take_place())
        await settle()
        now = 1.5
        await holder.end()
        await waiting
        assert effort.left == 2
        await effort.take_place()  # it has one, so there is none to wait for
        now = 3.0
        assert effort.left == 0.5
    assert inside(await arrive(turnstile, "c")) == "c"
