"""What a process does beside its turns: say that it lives, end the turns of those that do not, and go on with turns
that wait while nobody sees to them."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from bson import ObjectId
from pymongo.errors import PyMongoError

from app.conversations.repository import ConversationRepository
from app.kit.cancellation import raise_if_cancelled
from app.kit.changes import Change, ChangeFeed, Watch
from app.kit.logs import logger
from app.kit.repository import Row
from app.turns.answer import SERVER_DIED
from app.turns.events import EventRepository, LogTaken
from app.turns.finisher import Outcome, TurnFinisher
from app.turns.repository import TurnRepository
from app.turns.runner import TurnRunner
from app.turns.workers import RENEWALS_PER_LEASE, Membership

_SWEEPS_PER_LEASE = 10
_MIN_SWEEP_SECONDS = 0.2


class Housekeeping:
    def __init__(
        self,
        rows: TurnRepository,
        events: EventRepository,
        runner: TurnRunner,
        finisher: TurnFinisher,
        conversations: ConversationRepository,
        membership: Membership,
        feed: ChangeFeed,
        *,
        lease_seconds: float,
        go_on: Callable[[ObjectId], Awaitable[None]],
    ) -> None:
        self._rows = rows
        self._events = events
        self._runner = runner
        self._finisher = finisher
        self._conversations = conversations
        self._membership = membership
        self._lease_seconds = lease_seconds
        self._go_on = go_on
        self._tasks: list[asyncio.Task[None]] = []
        self._strays: set[ObjectId] = set()
        self._heirs: list[Callable[[Sequence[str]], Awaitable[None]]] = []
        membership.when_lost(runner.interrupt_of)
        condition = {
            "operationType": "update",
            "updateDescription.updatedFields.cancel_requested_at": {"$exists": True},
        }
        feed.watch(Watch("turns", condition, (), self._on_cancel, lambda: None))

    def inherit(self, heir: Callable[[Sequence[str]], Awaitable[None]]) -> None:
        """Call `heir` in every sweep with the workers that are dead, to see to what they have left."""
        self._heirs.append(heir)

    def open(self) -> None:
        lease = self._lease_seconds
        sweep = max(_MIN_SWEEP_SECONDS, lease / _SWEEPS_PER_LEASE)
        works = ((self._membership.renew, lease / RENEWALS_PER_LEASE), (self._sweep, sweep))
        self._tasks = [asyncio.create_task(_forever(work, seconds)) for work, seconds in works]

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self._membership.leave(is_clean=not self._runner.is_running)
        except PyMongoError as error:
            logger.warning("worker_not_removed", error=type(error).__name__)  # its lease ends by itself

    def _on_cancel(self, change: Change) -> None:
        self._runner.cancel(change.key)

    async def _sweep(self) -> None:
        for id in await self._rows.to_cancel(self._membership.id):  # the feed has told already, unless it is broken
            self._runner.cancel(id)
        if dead := await self._membership.find_dead():
            # Side by side: what a killed process has left open may hold up one conversation for a while.
            turns = await self._rows.running_of(dead)
            results = await asyncio.gather(*(self.interrupt(turn) for turn in turns), return_exceptions=True)
            for fault in filter(None, results):
                raise fault
        await self._end_strays()
        if not self._runner.is_stopping:
            await self._go_on_with_waiting()
        for heir in self._heirs:
            await heir(dead)

    async def _end_strays(self) -> None:
        """End turns of ours that do not run: their begin or their end was cut off by a database that went away.

        Each is looked at twice, since a turn that has just ended may have been read before.
        """
        mine = await self._rows.running_of([self._membership.id])
        strays = {turn["_id"]: turn for turn in mine if not self._runner.has(turn["_id"])}
        for id, turn in strays.items():
            if id in self._strays:
                await self.interrupt(turn)
        self._strays = set(strays)

    async def _go_on_with_waiting(self) -> None:
        """Run the waiting turns that hold their conversation: the process that let them in is gone, or was stopping."""
        if waiting := await self._rows.waiting():
            ids = [row["_id"] for row in waiting]
            for id in await self._conversations.held_by(ids, [row["conversation_id"] for row in waiting]):
                await self._go_on(id)

    async def interrupt(self, turn: Row) -> None:
        """End a running turn that nobody runs, keeping the text that was logged."""
        while True:
            text, last = await self._events.text(turn["_id"])
            outcome = Outcome("interrupted", text, error=SERVER_DIED)
            try:
                ended = await self._finisher.finish(turn, outcome, worker=turn["worker"], last=last)
            except LogTaken:
                continue  # its process wrote one more piece, and is not that dead
            break
        if ended is None:
            return
        logger.warning("turn_interrupted", turn_id=str(turn["_id"]))
        if ended.next_turn_id is not None:
            await self._go_on(ended.next_turn_id)


async def _forever(work: Callable[[], Awaitable[None]], seconds: float) -> None:
    while True:
        raise_if_cancelled()
        await asyncio.sleep(seconds * random.uniform(0.8, 1.2))  # noqa: S311 spreads the processes
        try:
            await work()
        except PyMongoError as error:
            logger.warning("turn_housekeeping_failed", error=type(error).__name__)
        except Exception:  # noqa: BLE001 one turn that cannot be ended must not keep the others from it
            logger.exception("turn_housekeeping_failed")
