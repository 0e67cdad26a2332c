"""What a provider says in one turn, and what that makes of the turn."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pymongo.errors import PyMongoError

from app.kit.clock import now
from app.kit.logs import logger
from app.llm.provider import CompletionRequest, Finish, Provider, ProviderError, TextDelta, Usage
from app.turns.finisher import Outcome
from app.turns.log import TurnLog

RequestMaker = Callable[[], Awaitable[CompletionRequest]]

DATABASE_UNAVAILABLE = {"code": "database_unavailable", "message": "The database was away for too long."}
INTERNAL_ERROR = {"code": "internal_error", "message": "The server failed; the fault is in its log."}
SERVER_STOPPED = {"code": "server_stopped", "message": "The server was stopped before the answer was complete."}
SERVER_DIED = {"code": "server_died", "message": "The server that ran this turn is gone."}


@dataclass
class Answer:
    """What a provider has said so far."""

    parts: list[str] = field(default_factory=list)
    first_token_at: datetime | None = None
    finish: Finish = field(default_factory=lambda: Finish("stop"))

    async def listen(self, provider: Provider, request: RequestMaker, log: TurnLog) -> None:
        """Take everything the provider says, and hand its text to the log; raises ProviderError."""
        async with aclosing(provider.stream(await request())) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, TextDelta):
                    self.first_token_at = self.first_token_at or now()
                    self.parts.append(chunk.text)
                    log.write(chunk.text)
                else:
                    self.finish = chunk

    def outcome(self, listening: "asyncio.Task[None]", flushing: "asyncio.Task[None]", log: TurnLog) -> Outcome:
        """What becomes of the turn, both tasks being over."""
        if error := flushing.exception():
            logger.error("turn_not_logged", error=type(error).__name__)
            # Nobody has seen more than this, and nobody may find more or less stored.
            return self._without_end("failed", log.text, DATABASE_UNAVAILABLE)
        text = "".join(self.parts)
        if listening.cancelled():
            return self._without_end("interrupted", text, SERVER_STOPPED)
        if error := listening.exception():
            return self._without_end("failed", text, _fault(error))
        return Outcome(
            "completed",
            text,
            finish_reason=self.finish.reason,
            usage=_usage(self.finish.usage),
            first_token_at=self.first_token_at,
        )

    def _without_end(self, state: Literal["failed", "interrupted"], text: str, fault: dict[str, str]) -> Outcome:
        return Outcome(state, text, error=fault, first_token_at=self.first_token_at)


def _fault(error: BaseException) -> dict[str, str]:
    if isinstance(error, ProviderError):
        return {"code": error.code, "message": error.message}
    logger.error("turn_failed", exc_info=error)
    return DATABASE_UNAVAILABLE if isinstance(error, PyMongoError) else INTERNAL_ERROR


def _usage(usage: Usage | None) -> dict[str, int] | None:
    if usage is None:
        return None
    return {"prompt": usage.prompt_tokens, "completion": usage.completion_tokens, "total": usage.total_tokens}
