"""Blocking work in threads that end before their caller goes on, however the caller is cancelled."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from anyio import CancelScope, to_thread

Result = TypeVar("Result")


async def in_thread(function: Callable[[], Result], on_cancel: Callable[[], None] | None = None) -> Result:
    """Call `function` in a worker thread; a cancellation calls `on_cancel`, waits for the thread, then goes its way.

    A thread cannot be cancelled: left alone it would go on using files that its owner believes are free.
    """
    work = asyncio.ensure_future(to_thread.run_sync(function))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        if on_cancel:
            on_cancel()
        with CancelScope(shield=True):
            await asyncio.wait([work])
        raise
