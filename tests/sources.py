"""Events of a stream that come when the test puts them."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from app.kit.streaming import ServerSentEvent


class QueuedEvents:
    """An EventSource: events, faults to raise, and None for the end; and how it was closed."""

    def __init__(self, *items: ServerSentEvent | Exception | None) -> None:
        self.queue: asyncio.Queue[ServerSentEvent | Exception | None] = asyncio.Queue()
        for item in items:
            self.queue.put_nowait(item)
        self.waiting = asyncio.Event()
        self.closed = asyncio.Event()
        self.was_complete: bool | None = None
        self._woken = asyncio.Event()

    async def next(self, seconds: float) -> Sequence[ServerSentEvent] | None:
        self.waiting.set()
        item = asyncio.ensure_future(self.queue.get())
        woken = asyncio.ensure_future(self._woken.wait())
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.wait({item, woken}, return_when=asyncio.FIRST_COMPLETED)
        woken.cancel()
        if not item.done():
            item.cancel()
            return ()
        found = item.result()
        if isinstance(found, Exception):
            raise found
        return None if found is None else [found]

    def wake(self) -> None:
        self._woken.set()

    async def aclose(self, *, is_complete: bool) -> None:
        await asyncio.sleep(0)  # closing may wait too
        self.was_complete = is_complete
        self.closed.set()
