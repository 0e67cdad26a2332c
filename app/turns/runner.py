"""Running turns: tasks that belong to the process, not to the connection that asked for them."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from opentelemetry.trace import Span
from pymongo.errors import PyMongoError

from app.kit import metrics, tracing
from app.kit.errors import NotFound
from app.kit.logs import bind_ids, logger
from app.kit.repository import Row
from app.turns.aftermath import Aftermath
from app.turns.answer import DATABASE_UNAVAILABLE, Answer, RequestMaker
from app.turns.events import END_EVENTS, Event, EventRepository, LogTaken
from app.turns.finisher import Ended, Outcome, TurnFinisher
from app.turns.wire import render_turn
from app.turns.writer import LogWriter, OwnLog

ENDING_SECONDS = 5.0
"""What storing the ends of interrupted turns may take when the process stops."""
_PAUSES = (0.0, 1.0, 5.0)
"""Seconds before each attempt to store an end; the attempt itself waits for a primary."""


@dataclass(frozen=True)
class _Running:
    """`listening` may be cancelled, which ends the turn; `task`, which sees it through, never is."""

    turn: Row
    log: OwnLog
    answer: Answer
    listening: asyncio.Task[None]


class TurnRunner:
    """Runs this process's turns."""

    def __init__(
        self,
        events: EventRepository,
        finisher: TurnFinisher,
        aftermath: Aftermath,
        *,
        go_on: Callable[[ObjectId], Coroutine[Any, Any, None]],
    ) -> None:
        """`go_on`: called with the turn whose turn it is when one has ended."""
        self._events = events
        self._finisher = finisher
        self._aftermath = aftermath
        self._go_on = go_on
        self._writer = LogWriter(events)
        self._running: dict[ObjectId, _Running] = {}
        self._expected: set[ObjectId] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stops_at: float | None = None

    @property
    def is_running(self) -> bool:
        """Whether a turn's end is not stored yet."""
        return bool(self._running)

    @property
    def is_stopping(self) -> bool:
        return self._stops_at is not None

    def start(self, turn: Row, started: dict[str, Any], answer: Answer, request: RequestMaker) -> OwnLog:
        """Run the stored turn in a task of the process; answers its log. `started`: the turn as clients see it."""
        id: ObjectId = turn["_id"]
        log = self._writer.log(id, turn["worker"], started)
        owner = str(turn["owner_id"])
        context = copy_context()  # the request's: what the turn does is part of its trace, and is logged with its id
        span = context.run(_enter, turn, owner)
        # Each task has its own, or the deadline that one of them sets would be the other's too.
        listening = asyncio.create_task(answer.listen(request, log, on_behalf_of=owner), context=context.copy())
        running = self._running[id] = _Running(turn, log, answer, listening)
        task = asyncio.create_task(self._see_through(running), name=f"turn-{id}", context=context.copy())
        if span is not None:
            task.add_done_callback(lambda _: span.end())
        metrics.turns_running.inc()
        task.add_done_callback(lambda _: metrics.turns_running.dec())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._stops_at is not None and asyncio.get_running_loop().time() >= self._stops_at:
            listening.cancel()
        return log

    @contextmanager
    def expecting(self, id: ObjectId) -> Iterator[None]:
        """The turn may be stored as running here before the block is left, in which it starts."""
        self._expected.add(id)
        try:
            yield
        finally:
            self._expected.discard(id)

    def has(self, id: ObjectId) -> bool:
        """Whether the turn runs here, or is about to."""
        return id in self._running or id in self._expected

    def log_of(self, id: ObjectId) -> OwnLog | None:
        """The log of a turn that runs in this process."""
        running = self._running.get(id)
        return None if running is None else running.log

    def cancel(self, id: ObjectId) -> bool:
        """End a turn of this process with the text it has; False when it does not run here."""
        running = self._running.get(id)
        if running is None:
            return False
        running.answer.is_cancelled = True
        running.listening.cancel()
        return True

    def interrupt_of(self, worker: str) -> None:
        """End the turns that began under a name this process has lost."""
        for running in self._running.values():
            if running.turn["worker"] == worker:
                running.listening.cancel()

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
        if self._tasks:
            left = max(0.0, (self._stops_at or 0.0) - asyncio.get_running_loop().time())
            _, unfinished = await asyncio.wait(self._tasks, timeout=left + ENDING_SECONDS)
            if unfinished:
                logger.error("turns_left_to_their_leases", count=len(unfinished))
        await self._writer.aclose()
        await self._aftermath.aclose()

    def _interrupt_all(self) -> None:
        for running in self._running.values():
            running.listening.cancel()

    async def _see_through(self, running: _Running) -> None:
        log, listening = running.log, running.listening
        either: set[asyncio.Future[Any]] = {listening, log.broken}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if log.broken.done():  # the log cannot be written: nothing more may be shown
            listening.cancel()
        await asyncio.wait({listening})
        running.answer.settle()
        await log.close()
        try:
            end, wire = await self._end(running)
        except Exception as error:  # noqa: BLE001 whatever it is, those who follow the turn must hear of an end
            # The database stays away, and this process will end the turn like this when it is back; or the
            # conversation was purged.
            is_known = isinstance(error, PyMongoError | NotFound)
            logger.error("turn_not_finished", turn_id=str(log.turn_id), exc_info=None if is_known else error)
            end, wire = log.last + 1, _interrupted(log.started, log.text)
        log.publish(Event(end, END_EVENTS[wire["state"]], wire))
        del self._running[log.turn_id]

    async def _end(self, running: _Running) -> tuple[int, dict[str, Any]]:
        """Store the end; answers the number of the last event, and the turn as it is stored, by whomever it was."""
        for pause in _PAUSES:
            await asyncio.sleep(pause)
            try:
                return await self._store_end(running)
            except PyMongoError as error:
                logger.warning("turn_end_not_stored", turn_id=str(running.log.turn_id), error=type(error).__name__)
                failure = error
        raise failure

    async def _store_end(self, running: _Running) -> tuple[int, dict[str, Any]]:
        turn, log = running.turn, running.log
        while True:
            outcome = running.answer.outcome(running.listening, log)
            said = log.final_events()
            try:
                ended = await self._finisher.finish(turn, outcome, worker=turn["worker"], last=log.last, said=said)
            except LogTaken:
                if log.adopt(await self._events.read(log.turn_id, after=log.last)) is None:
                    continue
                ended = None
            if ended is None:
                return await self._ended_elsewhere(log)
            log.publish(*said)
            if ended.next_turn_id is not None:
                # In nobody's context: it is another one's question.
                await asyncio.create_task(self._go_on(ended.next_turn_id), context=Context())
            return log.last + 1, await self._rendered(running, outcome, ended)

    async def _ended_elsewhere(self, log: OwnLog) -> tuple[int, dict[str, Any]]:
        """Another process has ended the turn, or this one has without hearing so: show what is stored."""
        log.adopt(await self._events.read(log.turn_id, after=log.last))
        return log.last + 1, await self._finisher.wire(log.turn_id)

    async def _rendered(self, running: _Running, outcome: Outcome, ended: Ended) -> dict[str, Any]:
        turn = ended.turn
        if outcome.state == "completed":
            turn = await self._aftermath.follow_up(running.turn, outcome.text) or turn
        return render_turn(turn, ended.answer, question=running.log.started["user_message"])


def _enter(turn: Row, owner: str) -> Span | None:
    """Be in this turn from now on, for logs and traces."""
    bind_ids(turn_id=str(turn["_id"]), principal_id=owner)
    return tracing.begin("turn", {"verbatim.turn_id": str(turn["_id"]), "gen_ai.request.model": turn["model"]})


def _interrupted(started: dict[str, Any], text: str) -> dict[str, Any]:
    """How the turn will look when it is ended."""
    answer = {**started["assistant_message"], "status": "interrupted", "content": text}
    return {**started, "state": "interrupted", "error": DATABASE_UNAVAILABLE, "assistant_message": answer}
