"""How many calls run at the same time, and who is next: callers take turns; within one, first come, first served."""

import asyncio
from collections import deque
from collections.abc import Callable

Turn = asyncio.Future[None]


class Slots:
    """`limit` slots and a queue of at most `max_queue` for them. For one event loop; nothing here awaits but `wait`."""

    def __init__(self, limit: int, max_queue: int, count: Callable[[int], None] = lambda _: None) -> None:
        """`count`: told by how many those who wait have become more."""
        self._free = limit
        self._max_queue = max_queue
        self._queues: dict[str, deque[Turn]] = {}  # by caller, whose turn is next first; none is empty
        self.waiting = 0
        self._count = count

    @property
    def is_full(self) -> bool:
        """Neither a slot is free nor a place in the queue."""
        return self._free == 0 and self.waiting >= self._max_queue

    def take(self) -> bool:
        """Whether there was a free slot, which is now taken."""
        if self._free == 0:
            return False
        self._free -= 1
        return True

    async def wait(self, caller: str, timeout: float) -> None:
        """Take a slot when it is `caller`'s turn; raises TimeoutError. Who is cancelled leaves no trace."""
        turn: Turn = asyncio.get_running_loop().create_future()
        self._queues.setdefault(caller, deque()).append(turn)
        self._waits(1)
        try:
            async with asyncio.timeout(timeout):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # it was this caller's turn in the same moment
                self.release()
            else:
                self._leave(caller, turn)
            raise

    def release(self) -> None:
        """Give the slot to the next in the queue, or back."""
        while self._queues:
            turn = self._next()
            if not turn.done():  # cancelled, but not yet gone
                turn.set_result(None)
                return
        self._free += 1

    def _next(self) -> Turn:
        caller = next(iter(self._queues))
        queue = self._queues.pop(caller)
        turn = queue.popleft()
        self._waits(-1)
        if queue:
            self._queues[caller] = queue  # behind all others
        return turn

    def _leave(self, caller: str, turn: Turn) -> None:
        queue = self._queues.get(caller, deque())
        if turn in queue:
            queue.remove(turn)
            self._waits(-1)
            if not queue:
                del self._queues[caller]

    def _waits(self, more: int) -> None:
        self.waiting += more
        self._count(more)
