"""Both are done, or both are over."""

import asyncio

import pytest

from app.kit.concurrency import both


class Work:
    """Something that waits until it is told how to end."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.is_over = False

    async def run(self, result: int, error: Exception | None = None) -> int:
        try:
            await self.may_end.wait()
            if error is not None:
                raise error
            return result
        finally:
            await asyncio.sleep(0)  # what has to be put in order takes a while
            self.is_over = True


async def test_results_come_in_order_whoever_is_first() -> None:
    first, second = Work(), Work()
    result = asyncio.create_task(both(first.run(1), second.run(2)))
    second.may_end.set()
    await asyncio.sleep(0)
    first.may_end.set()

    assert await result == (1, 2)


@pytest.mark.parametrize("failing", [0, 1])
async def test_when_one_fails_the_other_is_over_before_that_is_told(failing: int) -> None:
    works = [Work(), Work()]
    errors = [ValueError() if number == failing else None for number in range(2)]
    works[failing].may_end.set()

    with pytest.raises(ValueError):  # noqa: PT011 that very one
        await both(works[0].run(1, errors[0]), works[1].run(2, errors[1]))
    assert all(work.is_over for work in works)


async def test_who_is_cancelled_leaves_nothing_running() -> None:
    works = [Work(), Work()]
    task = asyncio.create_task(both(works[0].run(1), works[1].run(2)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(work.is_over for work in works)
