"""The end of a turn: one transaction over the answer, the turn, its log and the conversation."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bson import ObjectId

from app.conversations.service import ConversationService
from app.kit import metrics, tracing
from app.kit.clock import now
from app.kit.repository import EVERYTHING, Row
from app.kit.transactions import Transactions
from app.turns.events import Event, EventRepository
from app.turns.model import TurnState
from app.turns.repository import TurnRepository
from app.turns.wire import render_turn

ENDING_AT_ONCE = 16
"""Turns of a process whose end is being stored. The others wait before the clock of their transaction begins."""


@dataclass(frozen=True)
class Outcome:
    """How a turn ended, with all the text that was said. `answer`: further fields of the message, as stored."""

    state: TurnState
    text: str
    usage: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    first_token_at: datetime | None = None
    attempts: Sequence[dict[str, str]] = ()
    answer: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """The rows of a turn and its answer as they were stored at the end, and the turn whose turn it is now."""

    turn: Row
    answer: Row | None
    next_turn_id: ObjectId | None


class TurnFinisher:
    def __init__(
        self,
        rows: TurnRepository,
        events: EventRepository,
        conversations: ConversationService,
        transactions: Transactions,
    ) -> None:
        self._rows = rows
        self._events = events
        self._conversations = conversations
        self._transactions = transactions
        self._slots = asyncio.Semaphore(ENDING_AT_ONCE)

    async def finish(
        self, turn: Row, outcome: Outcome, *, worker: str | None, last: int, said: Sequence[Event] = ()
    ) -> Ended | None:
        """Store the outcome and let the next turn in.

        `worker`: who runs the turn; without one it must be waiting. `last`: the number of the last stored event, and
        `said`: the deltas that come with the end. When the turn is not that worker's any more nothing is written and
        the answer is None; when the log has grown otherwise, LogTaken is raised.
        """
        await self.supersede(turn)
        async with self._slots, self._conversations.alone(turn["conversation_id"]):
            ended = await self._transactions.run(lambda: self._write(turn, outcome, worker, last, said))
        if ended is not None:
            _count(turn, outcome)
        return ended

    async def supersede(self, turn: Row) -> None:
        """Take out of the exchange what was too much for the transaction in which the turn began."""
        span = turn.get("supersedes")
        if span is not None:
            await self._conversations.messages.supersede(turn["conversation_id"], **span)

    async def wire(self, turn_id: ObjectId) -> dict[str, Any]:
        """The turn with its messages, as it is stored; raises NotFound when it was purged."""
        row = await self._rows.get(EVERYTHING, turn_id)
        ids = [id for name in ("user_message_id", "assistant_message_id") if (id := row[name]) is not None]
        messages = await self._conversations.messages.find_all(ids)
        return render_turn(row, *messages)

    async def _write(
        self, turn: Row, outcome: Outcome, worker: str | None, last: int, said: Sequence[Event]
    ) -> Ended | None:
        id, by = turn["_id"], worker or ""
        end, finished_at = last + len(said) + 1, now()
        values = {**_end_of(turn, outcome, finished_at), "last_event": end}
        row = await self._rows.finish(id, values, worker=worker)
        if row is None:
            return None
        texts = [self._events.row(id, event.number, by, text=event.data["text"]) for event in said]
        await self._events.append([*texts, self._events.row(id, end, by, end=outcome.state)])
        answer = await self._conversations.messages.finish(
            turn["assistant_message_id"],
            {
                "content": outcome.text,
                "status": "complete" if outcome.state == "completed" else outcome.state,
                "usage": outcome.usage,
                "error": outcome.error,
                "latency_ms": _milliseconds(turn["created_at"], finished_at),
                **outcome.answer,
            },
        )
        conversations, conversation_id = self._conversations.rows, turn["conversation_id"]
        if worker is None:
            following = await conversations.withdraw(conversation_id, id)
        else:
            following = await conversations.release(conversation_id, id, _tokens(outcome.usage))
        return Ended(row, answer, following)


def _end_of(turn: Row, outcome: Outcome, finished_at: datetime) -> dict[str, Any]:
    """What a turn itself keeps of its outcome. Where nobody has answered, the provider is the one that failed last."""
    asked_last = outcome.attempts[-1]["provider"] if outcome.attempts else None
    return {
        "state": outcome.state,
        "usage": outcome.usage,
        "cost": outcome.answer.get("cost"),
        "error": outcome.error,
        "served_model": outcome.answer.get("model"),
        "provider": outcome.answer.get("provider", asked_last),
        "first_token_at": outcome.first_token_at,
        "first_token_ms": _milliseconds(turn["started_at"], outcome.first_token_at),
        "total_ms": _milliseconds(turn["started_at"], finished_at),
        "finished_at": finished_at,
        "failed_attempts": len(outcome.attempts),
        "attempts": list(outcome.attempts),
    }


def _milliseconds(since: datetime | None, until: datetime | None) -> int | None:
    """Between two instants, if there are both. Never less than nothing, though another machine's clock may differ."""
    if since is None or until is None:
        return None
    return max(0, int((until - since).total_seconds() * 1000))


def _count(turn: Row, outcome: Outcome) -> None:
    """After the transaction, which may run more than once."""
    provider, created_at = outcome.answer.get("provider") or "none", turn["created_at"]
    metrics.turns.labels(outcome.state, provider).inc()
    tracing.note({"verbatim.turn.state": outcome.state, "gen_ai.provider.name": provider})
    metrics.turn_seconds.labels(provider).observe((now() - created_at).total_seconds())
    if outcome.first_token_at is not None:
        metrics.first_token_seconds.labels(provider).observe((outcome.first_token_at - created_at).total_seconds())
    for kind, count in _tokens(outcome.usage).items():
        if kind != "total":
            metrics.tokens.labels(provider, kind).inc(count)
    metrics.cost.labels(provider).inc(outcome.answer.get("cost") or 0)


def _tokens(usage: dict[str, Any] | None) -> dict[str, int]:
    return {name: usage[name] for name in ("prompt", "completion", "total")} if usage else {}
