"""Files that are sent once they are complete: written by threads into a temporary file, so an error is never a part."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from functools import partial
from typing import Protocol

from app.kit.export.model import Row
from app.kit.export.worker import closing
from app.kit.threads import in_thread

CHUNK_BYTES = 256 * 1024


class Abandoned(Exception):
    """Ends the thread of an export that was cancelled; nobody waits for it, so it is never seen."""


class Draft(Protocol):
    """A file in progress, which opens when it is made. Every method blocks, except `abandon`, which may be called
    meanwhile."""

    def add(self, batch: Iterable[Row]) -> None: ...
    def finish(self) -> None:
        """Complete the file, whose bytes `read` gives from then on."""

    def abandon(self) -> None:
        """Let the running method end early, by raising Abandoned."""

    def read(self, size: int) -> bytes:
        """The next bytes of the finished file; empty at the end."""
        ...

    def close(self) -> None:
        """Delete the file."""


async def completed(make: Callable[[], Draft], batches: AsyncIterator[Iterable[Row]]) -> AsyncGenerator[bytes, None]:
    """The finished file in chunks of 256 KiB; closes the source and what it made."""
    made: list[Draft] = []  # outlives a cancellation while the thread makes it
    try:
        async with closing(batches):
            await in_thread(lambda: made.append(make()))
            [draft] = made
            async for batch in batches:
                await in_thread(partial(draft.add, batch), on_cancel=draft.abandon)
        await in_thread(draft.finish, on_cancel=draft.abandon)
        while chunk := await in_thread(partial(draft.read, CHUNK_BYTES)):
            yield chunk
    finally:
        for each in made:
            await in_thread(each.close)
