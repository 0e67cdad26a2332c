"""Blocking work of an export in threads that end before their caller goes on, however the caller is cancelled."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from anyio import CancelScope, to_thread

from app.kit.export.model import Row

Result = TypeVar("Result")
Batch = TypeVar("Batch")


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


@asynccontextmanager
async def closing(batches: AsyncIterator[Batch]) -> AsyncIterator[AsyncIterator[Batch]]:
    """Close the source at the end when it is a generator, so that its cursor is freed now and not at collection."""
    try:
        yield batches
    finally:
        if isinstance(batches, AsyncGenerator):
            with CancelScope(shield=True):
                await batches.aclose()


async def encoded(
    batches: AsyncIterator[Iterable[Row]], encode: Callable[[Iterable[Row]], Iterator[bytes]], head: bytes
) -> AsyncGenerator[bytes, None]:
    """`head` and the pieces of each batch; `encode` runs in a thread and bounds a piece by bytes.

    `head` waits for the first piece: what fails until then has sent nothing.
    """
    async with closing(batches):
        async for batch in batches:
            pieces = encode(batch)
            while piece := await in_thread(partial(next, pieces, b"")):
                yield head + piece
                head = b""
    if head:
        yield head
