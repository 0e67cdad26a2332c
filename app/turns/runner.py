"""Running turns: tasks that belong to the process, not to the connection that asked for them."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from bson import ObjectId
from pymongo.errors import PyMongoError

from app.kit.errors import NotFound
from app.kit.logs import logger
from app.kit.repository import Row
from app.llm.provider import Provider
from app.turns.answer import DATABASE_UNAVAILABLE, SERVER_DIED, Answer, RequestMaker
from app.turns.finisher import Outcome, TurnFinisher
from app.turns.log import END_EVENTS, TurnLog
from app.turns.repository import TurnRepository

ENDING_SECONDS = 5.0
"""What storing the ends of interrupted turns may take when the process stops."""
_PAUSES = (0.0, 1.0, 5.0)
"""Seconds before each attempt to store an end; the attempt itself waits for a primary."""
_CHECKS_PER_LEASE = 3


@dataclass(frozen=True)
class _Running:
    """`listening` may be cancelled, which interrupts the turn; `task`, which sees it through, never is."""

    log: TurnLog
    listening: asyncio.Task[None]
    task: asyncio.Task[None]


class TurnRunner:
    """Runs this process's turns under leases, and ends the turns of processes that died."""

    def __init__(self, rows: TurnRepository, finisher: TurnFinisher) -> None:
        self.worker = secrets.token_hex(8)
        self._rows = rows
        self._finisher = finisher
        self._running: dict[ObjectId, _Running] = {}
        self._housekeeping: list[asyncio.Task[None]] = []
        self._stops_at: float | None = None

    def open(self) -> None:
        """Begin to renew leases and to look for abandoned turns."""
        self._housekeeping = [asyncio.create_task(self._forever(work)) for work in (self._renew, self._reap)]

    def stop(self, grace: float = 0.0) -> None:
        """Interrupt what still runs in `grace` seconds; a later call can only bring that forward."""
        loop = asyncio.get_running_loop()
        at = loop.time() + grace
        if self._stops_at is None or at < self._stops_at:
            self._stops_at = at
            loop.call_at(at, self._interrupt_all)

    async def aclose(self, grace: float) -> None:
        """Let turns finish for `grace` seconds, or what `stop` has left of them, and store how far the rest came."""
        self.stop(grace)
        if tasks := [running.task for running in self._running.values()]:
            left = max(0.0, (self._stops_at or 0.0) - asyncio.get_running_loop().time())
            _, unfinished = await asyncio.wait(tasks, timeout=left + ENDING_SECONDS)
            if unfinished:
                logger.error("turns_left_to_their_leases", count=len(unfinished))
        for task in self._housekeeping:
            task.cancel()
        await asyncio.gather(*self._housekeeping, return_exceptions=True)

    def _interrupt_all(self) -> None:
        for running in self._running.values():
            running.listening.cancel()

    def start(self, turn: Row, started: dict[str, Any], provider: Provider, request: RequestMaker) -> TurnLog:
        """Run the turn in a task of the process; answers the log to follow. `started`: the turn as clients see it."""
        id: ObjectId = turn["_id"]
        log, answer = TurnLog(partial(self._rows.log, id), started), Answer()
        listening = asyncio.create_task(answer.listen(provider, request, log))
        task = asyncio.create_task(self._see_through(turn, started, log, answer, listening), name=f"turn-{id}")
        self._running[id] = _Running(log, listening, task)
        task.add_done_callback(lambda _: self._running.pop(id, None))
        if self._stops_at is not None and asyncio.get_running_loop().time() >= self._stops_at:
            listening.cancel()
        return log

    def log_of(self, id: ObjectId) -> TurnLog | None:
        """The log of a turn that runs in this process."""
        running = self._running.get(id)
        return None if running is None else running.log

    async def _see_through(
        self, turn: Row, started: dict[str, Any], log: TurnLog, answer: Answer, listening: "asyncio.Task[None]"
    ) -> None:
        flushing = asyncio.create_task(log.flush_until_closed())
        await asyncio.wait({listening, flushing}, return_when=asyncio.FIRST_COMPLETED)
        if flushing.done():  # the log cannot be written: nothing more may be shown
            listening.cancel()
        await asyncio.wait({listening})
        log.close()
        await asyncio.wait({flushing})
        try:
            ended = await self._store_end(turn, answer.outcome(listening, flushing, log))
        except Exception as error:  # noqa: BLE001 whatever it is, those who follow the turn must hear of an end
            # The database stays away, and the lease will end the turn like this; or the conversation was purged.
            is_known = isinstance(error, PyMongoError | NotFound)
            logger.error("turn_not_finished", turn_id=str(turn["_id"]), exc_info=None if is_known else error)
            ended = _interrupted(started, log.text)
        await log.end(END_EVENTS[ended["state"]], ended)

    async def _store_end(self, turn: Row, outcome: Outcome) -> dict[str, Any]:
        """The turn as it is stored, which another process may have ended otherwise."""
        for pause in _PAUSES:
            await asyncio.sleep(pause)
            try:
                await self._finisher.finish(turn, outcome, worker=self.worker)
                return await self._finisher.wire(turn["_id"])
            except PyMongoError as error:
                logger.warning("turn_end_not_stored", turn_id=str(turn["_id"]), error=type(error).__name__)
                failure = error
        raise failure

    async def interrupt(self, turn: Row) -> None:
        """End a turn of another process whose lease is over, keeping the text that was logged."""
        if turn["_id"] in self._running:  # the database was away for longer than the lease, not this process
            return
        text = "".join(await self._rows.logged(turn["_id"]))
        if await self._finisher.finish(turn, Outcome("interrupted", text, error=SERVER_DIED), worker=None):
            logger.warning("turn_interrupted", turn_id=str(turn["_id"]))

    async def _renew(self) -> None:
        if self._running:
            await self._rows.renew(self.worker, list(self._running))

    async def _reap(self) -> None:
        for turn in await self._rows.abandoned():
            await self.interrupt(turn)

    async def _forever(self, work: Callable[[], Awaitable[None]]) -> None:
        seconds = self._rows.lease_seconds / _CHECKS_PER_LEASE
        while True:
            await asyncio.sleep(seconds * (0.8 + secrets.randbelow(400) / 1000))
            try:
                await work()
            except PyMongoError as error:
                logger.warning("turn_housekeeping_failed", error=type(error).__name__)
            except Exception:  # noqa: BLE001 one turn that cannot be ended must not keep the others from it
                logger.exception("turn_housekeeping_failed")


def _interrupted(started: dict[str, Any], text: str) -> dict[str, Any]:
    """How the turn will look when its lease is over."""
    answer = {**started["assistant_message"], "status": "interrupted", "content": text}
    return {**started, "state": "interrupted", "error": DATABASE_UNAVAILABLE, "assistant_message": answer}
