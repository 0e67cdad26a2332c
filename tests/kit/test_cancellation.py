"""A cancellation that something on the way has lost is found again."""

import asyncio
from contextlib import suppress

import pytest

from app.kit.cancellation import raise_if_cancelled


async def test_a_lost_cancellation_is_raised_again() -> None:
    reached = asyncio.Event()

    async def work() -> None:
        with suppress(asyncio.CancelledError):  # as wait_for does when the result comes in the same moment
            reached.set()
            await asyncio.Event().wait()
        raise_if_cancelled()
        pytest.fail("it went on")

    task = asyncio.create_task(work())
    await reached.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_task_that_nobody_cancelled_goes_on() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await asyncio.sleep(1)
    raise_if_cancelled()
