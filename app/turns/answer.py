"""What a model says in one turn, and what that makes of the turn."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from pymongo.errors import PyMongoError

from app.kit.cancellation import raise_if_cancelled
from app.kit.clock import now
from app.kit.errors import QuotaExceeded, VerbatimError
from app.kit.logs import logger
from app.limits.quotas import Meter
from app.llm.history import TokenCount, estimate_usage
from app.llm.provider import (
    Attempt,
    Chunk,
    CompletionRequest,
    Finish,
    ProviderError,
    Served,
    TextDelta,
    ToolCall,
    Usage,
)
from app.llm.service import LanguageModels
from app.turns.finisher import Outcome
from app.turns.writer import OwnLog

RequestMaker = Callable[[], Awaitable[CompletionRequest]]

DATABASE_UNAVAILABLE = {"code": "database_unavailable", "message": "The database was away for too long."}
INTERNAL_ERROR = {"code": "internal_error", "message": "The server failed; the fault is in its log."}
SERVER_STOPPED = {"code": "server_stopped", "message": "The server was stopped before the answer was complete."}
SERVER_DIED = {"code": "server_died", "message": "The server that ran this turn is gone."}


@dataclass
class Answer:
    """What a model has said so far. `is_cancelled`: somebody wants to hear no more of it."""

    models: LanguageModels
    model: str
    meter: Meter
    is_cancelled: bool = False
    first_token_at: datetime | None = None
    finish: Finish | None = None
    served: Served | None = None
    asked: CompletionRequest | None = None
    said: TokenCount = field(default_factory=TokenCount)
    _prompt: int = 0

    async def listen(self, request: RequestMaker, log: OwnLog, *, on_behalf_of: str) -> None:
        """Take everything the model says, and hand its text to the log; raises ProviderError, QuotaExceeded."""
        asked = self.asked = await request()
        raise_if_cancelled()
        await self.measure()  # a turn that has waited may find nothing left
        async with aclosing(self.models.stream(asked, on_behalf_of=on_behalf_of)) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, TextDelta):
                    self.first_token_at = self.first_token_at or now()
                    log.write(chunk.text)
                await self.hear(chunk)

    async def hear(self, chunk: Chunk) -> None:
        """Know of the next piece, and what it costs. Raises QuotaExceeded when no more may be used."""
        if isinstance(chunk, TextDelta):
            self.said.add(chunk.text)
            await self.measure()
        elif isinstance(chunk, Served):
            self.served = chunk
        else:
            self.finish = chunk

    async def measure(self) -> None:
        """Raises QuotaExceeded when no more may be used."""
        if self.meter.is_limited:
            usage = self._used()
            await self.meter.use(usage.total_tokens, self._cost(usage))

    def settle(self) -> None:
        """The listening is over: what it has used goes to the account, also when it came to no good end."""
        usage = self._used()
        self.meter.close(usage.total_tokens, self._cost(usage))

    def _used(self) -> Usage:
        """As the upstream has told, or as far as can be told without it."""
        if self.finish is not None and self.finish.usage is not None:
            return self.finish.usage
        if self.asked is None or (self.served is None and self.first_token_at is None):
            return Usage(0, 0, 0, estimated=True)
        self._prompt = self._prompt or estimate_usage(self.asked, "", Finish("")).prompt_tokens
        return Usage(self._prompt, self.said.tokens, self._prompt + self.said.tokens, estimated=True)

    def _cost(self, usage: Usage) -> float:
        return self.models.cost(self.served.model if self.served else self.model, usage) or 0.0

    def outcome(self, listening: "asyncio.Task[None]", log: OwnLog) -> Outcome:
        """What becomes of the turn, the listening being over and no write being under way."""
        if log.broken.done():
            logger.error("turn_not_logged", error=type(log.broken.result()).__name__)
            log.drop_pending()  # nobody has seen it, and nobody may find more stored than was seen
            return self._without_end("failed", log, DATABASE_UNAVAILABLE)
        if listening.cancelled():
            if self.is_cancelled:
                return self._without_end("cancelled", log, None)
            return self._without_end("interrupted", log, SERVER_STOPPED)
        if error := listening.exception():
            if isinstance(error, QuotaExceeded):
                return self._exhausted(error, log)
            attempts = error.attempts if isinstance(error, ProviderError) else ()
            return self._without_end("failed", log, _fault(error), attempts)
        assert self.finish is not None  # noqa: S101 what a provider promises
        return self._complete(self.finish, log)

    def _complete(self, finish: Finish, log: OwnLog) -> Outcome:
        served = self.served or Served(self.model, "")
        return Outcome(
            "completed",
            log.text + log.pending,
            usage=_usage(finish.usage),
            first_token_at=self.first_token_at,
            attempts=_attempts(served.attempts),
            answer={
                "finish_reason": finish.reason,
                "model": served.model,
                "provider": served.provider,
                "cost": None if finish.usage is None else self.models.cost(served.model, finish.usage),
                "tool_calls": [_tool_call(each) for each in finish.tool_calls] or None,
                "reasoning": finish.reasoning or None,
            },
        )

    def _exhausted(self, error: QuotaExceeded, log: OwnLog) -> Outcome:
        """What was said until nothing was left; the estimate of what it used is what counted."""
        outcome = self._without_end("failed", log, _fault(error))
        usage = self._used()
        cost = None if self.served is None else self.models.cost(self.served.model, usage)
        return replace(outcome, usage=_usage(usage), answer={**outcome.answer, "cost": cost})

    def _without_end(
        self,
        state: Literal["failed", "cancelled", "interrupted"],
        log: OwnLog,
        fault: dict[str, str] | None,
        attempts: Sequence[Attempt] = (),
    ) -> Outcome:
        return Outcome(
            state,
            log.text + log.pending,
            error=fault,
            first_token_at=self.first_token_at,
            attempts=_attempts(attempts or (self.served.attempts if self.served else ())),
            answer={"model": self.served.model, "provider": self.served.provider} if self.served else {},
        )


def _fault(error: BaseException) -> dict[str, str]:
    if isinstance(error, ProviderError):
        return {"code": error.code, "message": error.message}
    if isinstance(error, VerbatimError):
        return {"code": error.code, "message": error.detail}
    logger.error("turn_failed", exc_info=error)
    return DATABASE_UNAVAILABLE if isinstance(error, PyMongoError) else INTERNAL_ERROR


def _usage(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    counts = {"prompt": usage.prompt_tokens, "completion": usage.completion_tokens, "total": usage.total_tokens}
    return {**counts, "estimated": True} if usage.estimated else counts


def _attempts(attempts: Sequence[Attempt]) -> list[dict[str, str]]:
    return [asdict(each) for each in attempts]


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
