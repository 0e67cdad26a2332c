"""What the writers share: closing their source, and encoding its batches in threads."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from anyio import CancelScope

from app.kit.export.model import Row
from app.kit.threads import in_thread

Batch = TypeVar("Batch")


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
