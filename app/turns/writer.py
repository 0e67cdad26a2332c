"""Group commit: the pieces of all answers of the process, written together, and shown only when they are stored.

The first piece of an answer is written at once. Later ones wait for each other for a moment that grows with what a
write takes, so that a thousand answers cost tens of writes a second and not thousands.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any

from bson import ObjectId
from pymongo.errors import PyMongoError

from app.kit import metrics
from app.kit.logs import logger
from app.kit.repository import Row
from app.turns.events import Event, EventRepository, LogTaken, delta
from app.turns.log import TurnLog
from app.turns.model import TurnState

WINDOW_SECONDS = 0.04
MAX_WINDOW_SECONDS = 0.25
_PAUSES = (0.5, 1.0, 2.0)
"""Seconds between attempts to write. An attempt itself waits for a primary; one that has just started with its set may
answer errors for a second or two."""


class OwnLog(TurnLog):
    """The log of a turn that runs in this process: pieces are handed over, stored, and then published.

    `broken` is done when a piece could not be stored: with LogTaken when another process has ended the turn, or with
    the database's error. Nothing is written any more then.
    """

    def __init__(self, turn_id: ObjectId, worker: str, started: Any, note: "Callable[[OwnLog], None]") -> None:
        super().__init__(started)
        self.turn_id = turn_id
        self.worker = worker
        self.broken: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._note = note
        self._pending: list[str] = []
        self._is_writing = False
        self._is_closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def pending(self) -> str:
        """What was handed over and is not stored yet."""
        return "".join(self._pending)

    def write(self, text: str) -> None:
        """Hand over the next piece of the answer; pieces that share a write become one delta."""
        self._pending.append(text)
        if not self._is_writing:
            self._note(self)

    async def close(self) -> None:
        """Return when no write is under way; what is still pending is stored with the end."""
        self._is_closed = True
        await self._idle.wait()

    def begin_write(self) -> str:
        """The text to be written now, if this is the moment for it."""
        if self._is_writing or self._is_closed or self.broken.done():
            return ""
        text = self.pending
        self._pending.clear()
        if text:
            self._is_writing = True
            self._idle.clear()
        return text

    def end_write(self, text: str, error: Exception | None) -> None:
        """The write is over: publish the text, or break."""
        if error is None:
            self.publish(delta(self.last + 1, text))
        else:
            self._pending.insert(0, text)
            self.break_off(error)
        self._is_writing = False
        self._idle.set()
        if self._pending and not self._is_closed:
            self._note(self)

    def break_off(self, error: Exception) -> None:
        """Store nothing more."""
        if not self.broken.done():
            self.broken.set_result(error)

    def drop_pending(self) -> None:
        """Forget what was never stored, and so was never shown."""
        self._pending.clear()

    def final_events(self) -> list[Event]:
        """What is pending, as the last delta."""
        return [delta(self.last + 1, text)] if (text := self.pending) else []

    def adopt(self, rows: list[Row]) -> TurnState | None:
        """Publish stored rows that this process did not know to be stored; answers the end if one is among them.

        A write whose acknowledgement was lost is found again like this: it holds the beginning of what is pending, if
        that was not dropped. Nobody else writes pieces into this log.
        """
        for row in rows:
            end: TurnState | None = row.get("end")
            if end is not None:
                return end
            self._pending = [self.pending.removeprefix(row["text"])]
            self.publish(delta(row["_id"]["seq"], row["text"]))
        return None


class LogWriter:
    """The one writer of a process's logs."""

    def __init__(self, events: EventRepository) -> None:
        self._events = events
        self._firsts = _Lane(self._write, window=0.0, max_window=0.0)
        self._rest = _Lane(self._write, window=WINDOW_SECONDS, max_window=MAX_WINDOW_SECONDS)

    def log(self, turn_id: ObjectId, worker: str, started: Any) -> OwnLog:
        """The log of a turn that begins here."""
        return OwnLog(turn_id, worker, started, self._note)

    async def aclose(self) -> None:
        await self._firsts.aclose()
        await self._rest.aclose()

    def _note(self, log: OwnLog) -> None:
        (self._firsts if log.last == 1 else self._rest).add(log)

    async def _write(self, logs: list[OwnLog]) -> None:
        texts = {log: text for log in logs if (text := log.begin_write())}
        if not texts:
            return
        results: dict[OwnLog, Exception | None]
        try:
            results = await self._store(texts)
        except Exception as error:  # noqa: BLE001 whatever it is, the turns must hear of it
            if not isinstance(error, PyMongoError):
                logger.exception("turn_logs_not_written", count=len(texts))
            results = dict.fromkeys(texts, error)
        for log, text in texts.items():
            log.end_write(text, results[log])

    async def _store(self, texts: dict[OwnLog, str]) -> dict[OwnLog, Exception | None]:
        """Why each log's row is not stored, None where it is. Raises when the database stays away."""
        logs = list(texts)
        rows = [self._events.row(log.turn_id, log.last + 1, log.worker, text=texts[log]) for log in logs]
        metrics.log_rows.observe(len(rows))
        for attempt, pause in enumerate((*_PAUSES, None), 1):
            try:
                with metrics.log_seconds.time():
                    taken = await self._events.append(rows)
            except PyMongoError as error:
                logger.warning("turn_logs_delayed", error=type(error).__name__, count=len(rows), attempt=attempt)
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                return {
                    log: await self._fault(rows[index]) if index in taken else None for index, log in enumerate(logs)
                }
        raise AssertionError("the loop returns or raises")

    async def _fault(self, row: Row) -> Exception | None:
        """None when it is our own earlier attempt that has taken the number."""
        stored = await self._events.read(row["_id"]["turn_id"], after=row["_id"]["seq"] - 1, limit=1)
        is_ours = bool(stored) and (stored[0]["worker"], stored[0].get("text")) == (row["worker"], row["text"])
        return None if is_ours else LogTaken()


class _Lane:
    """Logs that wait for the next write. One write is under way at a time."""

    def __init__(self, write: Any, *, window: float, max_window: float) -> None:
        self._write = write
        self._window = window
        self._max_window = max_window
        self._logs: dict[OwnLog, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._due = 0.0

    def add(self, log: OwnLog) -> None:
        self._logs[log] = None
        if self._task is None:
            # In nobody's context: the write is that of many turns.
            self._task = asyncio.create_task(self._run(), context=Context())

    async def aclose(self) -> None:
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        """Write until nobody waits."""
        clock = asyncio.get_running_loop().time
        try:
            while self._logs:
                if (pause := self._due - clock()) > 0:
                    await asyncio.sleep(pause)
                logs, self._logs = list(self._logs), {}
                started = clock()
                await self._write(logs)
                taken = clock() - started
                self._due = started + max(self._window, min(2 * taken, self._max_window))
        finally:
            self._task = None
