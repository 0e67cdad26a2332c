"""Running turns: tasks that belong to the process, not to the connection that asked for them."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId
from pymongo.errors import PyMongoError

from app.kit.clock import now
from app.kit.logs import logger
from app.kit.repository import Row
from app.llm.provider import CompletionRequest, Finish, Provider, ProviderError, TextDelta, Usage
from app.turns.finisher import Outcome, TurnFinisher
from app.turns.log import EventName, TurnLog
from app.turns.repository import TurnRepository

RequestMaker = Callable[[], Awaitable[CompletionRequest]]

RENEW_SECONDS = 5
REAP_SECONDS = 5


@dataclass
class _Answer:
    """What a provider has said so far."""

    parts: list[str] = field(default_factory=list)
    first_token_at: Any = None
    finish: Finish | None = None

    @property
    def text(self) -> str:
        return "".join(self.parts)


class TurnRunner:
    """Runs this process's turns under leases, and ends the turns of processes that died."""

    def __init__(self, rows: TurnRepository, finisher: TurnFinisher) -> None:
        self.worker = secrets.token_hex(8)
        self._rows = rows
        self._finisher = finisher
        self._running: dict[ObjectId, tuple[asyncio.Task[None], TurnLog]] = {}
        self._housekeeping: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Begin to renew leases and to look for abandoned turns."""
        self._housekeeping = [
            asyncio.create_task(self._forever(self._renew, RENEW_SECONDS)),
            asyncio.create_task(self._forever(self._reap, REAP_SECONDS)),
        ]

    async def aclose(self, grace: float) -> None:
        """Let turns finish for `grace` seconds, then interrupt the rest; their text so far is kept."""
        tasks = [task for task, _ in self._running.values()]
        if tasks:
            _, unfinished = await asyncio.wait(tasks, timeout=grace)
            for task in unfinished:
                task.cancel()
            if unfinished:
                await asyncio.wait(unfinished)
        for task in self._housekeeping:
            task.cancel()
        await asyncio.gather(*self._housekeeping, return_exceptions=True)

    def start(self, turn: Row, started: Any, provider: Provider, request: RequestMaker) -> TurnLog:
        """Run the turn in a task of the process; answers the log to follow."""
        id: ObjectId = turn["_id"]
        log = TurnLog(lambda seq, texts: self._rows.log(id, seq, texts), started)
        task = asyncio.create_task(self._run(turn, log, provider, request), name=f"turn-{id}")
        self._running[id] = (task, log)
        task.add_done_callback(lambda _: self._running.pop(id, None))
        return log

    def log_of(self, id: ObjectId) -> TurnLog | None:
        """The log of a turn that runs in this process."""
        running = self._running.get(id)
        return running and running[1]

    async def _run(self, turn: Row, log: TurnLog, provider: Provider, request: RequestMaker) -> None:
        answer = _Answer()
        flushing = asyncio.create_task(log.flush_until_closed())
        try:
            await _listen(provider, await request(), log, answer, flushing)
            outcome = _completed(answer)
        except ProviderError as error:
            outcome = _failed(answer, error.code, error.message)
        except asyncio.CancelledError:
            outcome = Outcome("interrupted", answer.text, first_token_at=answer.first_token_at)
        except Exception as error:  # noqa: BLE001 whatever it is, the turn must get an end
            logger.exception("turn_failed", turn_id=str(turn["_id"]))
            outcome = _failed(answer, "internal_error", f"The server failed: {type(error).__name__}.")
        await asyncio.shield(asyncio.ensure_future(self._finish(turn, log, flushing, outcome)))

    async def _finish(self, turn: Row, log: TurnLog, flushing: "asyncio.Task[None]", outcome: Outcome) -> None:
        """Store the end, then tell it. Should the database stay away, the turn is left to its lease."""
        log.close()
        await asyncio.wait({flushing})
        try:
            await log.flush()
            wire = await self._finisher.finish(turn, outcome, worker=self.worker)
        except PyMongoError as error:
            logger.error("turn_not_finished", turn_id=str(turn["_id"]), error=type(error).__name__)
            await log.end("turn.interrupted", None)
            return
        await log.end(_EVENTS[outcome.state], wire)

    async def _renew(self) -> None:
        if self._running:
            await self._rows.renew(self.worker, list(self._running))

    async def _reap(self) -> None:
        for turn in await self._rows.abandoned():
            await self.interrupt(turn)

    async def interrupt(self, turn: Row) -> None:
        """End a turn whose lease is over, keeping the text that was logged."""
        text = await self._rows.logged_text(turn["_id"])
        await self._finisher.finish(turn, Outcome("interrupted", text), worker=None)
        logger.warning("turn_interrupted", turn_id=str(turn["_id"]))

    async def _forever(self, work: Any, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds * (0.8 + secrets.randbelow(400) / 1000))
            try:
                await work()
            except PyMongoError as error:
                logger.warning("turn_housekeeping_failed", work=work.__name__, error=type(error).__name__)


_EVENTS: Mapping[str, EventName] = {
    "completed": "turn.completed",
    "failed": "turn.failed",
    "cancelled": "turn.cancelled",
    "interrupted": "turn.interrupted",
}


async def _listen(
    provider: Provider, request: CompletionRequest, log: TurnLog, answer: _Answer, flushing: "asyncio.Task[None]"
) -> None:
    async with aclosing(provider.stream(request)) as chunks:
        async for chunk in chunks:
            if flushing.done():  # the log cannot be written: nothing more may be shown
                flushing.result()
            if isinstance(chunk, TextDelta):
                answer.first_token_at = answer.first_token_at or now()
                answer.parts.append(chunk.text)
                log.write(chunk.text)
            else:
                answer.finish = chunk


def _completed(answer: _Answer) -> Outcome:
    finish = answer.finish or Finish("stop")
    return Outcome(
        "completed",
        answer.text,
        finish_reason=finish.reason,
        usage=_usage(finish.usage),
        first_token_at=answer.first_token_at,
    )


def _failed(answer: _Answer, code: str, message: str) -> Outcome:
    fault = {"code": code, "message": message}
    return Outcome("failed", answer.text, error=fault, first_token_at=answer.first_token_at)


def _usage(usage: Usage | None) -> dict[str, int] | None:
    if usage is None:
        return None
    return {"prompt": usage.prompt_tokens, "completion": usage.completion_tokens, "total": usage.total_tokens}
