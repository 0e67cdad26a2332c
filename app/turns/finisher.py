"""The end of a turn: one transaction over the answer, the turn and the conversation."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId

from app.conversations.service import ConversationService
from app.kit.clock import now
from app.kit.repository import EVERYTHING, Row
from app.kit.transactions import Transactions
from app.turns.model import TurnState
from app.turns.repository import TurnRepository
from app.turns.wire import render_turn


@dataclass(frozen=True)
class Outcome:
    """How a turn ended, with all the text that was said."""

    state: TurnState
    text: str
    finish_reason: str | None = None
    usage: dict[str, int] | None = None
    error: dict[str, str] | None = None
    first_token_at: datetime | None = None


class TurnFinisher:
    def __init__(self, rows: TurnRepository, conversations: ConversationService, transactions: Transactions) -> None:
        self._rows = rows
        self._conversations = conversations
        self._transactions = transactions

    async def finish(self, turn: Row, outcome: Outcome, *, worker: str | None) -> bool:
        """Store the outcome and let the next turn in.

        `worker` must still own the turn; without one the turn's lease must be over. Otherwise nothing is written and
        the answer is False: somebody else has ended the turn.
        """
        async with self._conversations.alone(turn["conversation_id"]):
            return await self._transactions.run(lambda: self._write(turn, outcome, worker))

    async def wire(self, turn_id: ObjectId) -> dict[str, Any]:
        """The turn with its messages, as it is stored; raises NotFound when it was purged."""
        row = await self._rows.get(EVERYTHING, turn_id)
        messages = [
            await self._conversations.messages.find(EVERYTHING, {"_id": row[name]})
            for name in ("user_message_id", "assistant_message_id")
        ]
        return render_turn(row, [message for message in messages if message is not None])

    async def _write(self, turn: Row, outcome: Outcome, worker: str | None) -> bool:
        stored = {
            "state": outcome.state,
            "usage": outcome.usage,
            "error": outcome.error,
            "first_token_at": outcome.first_token_at,
        }
        if await self._rows.finish(turn["_id"], stored, worker=worker) is None:
            return False
        await self._conversations.messages.finish(
            turn["assistant_message_id"],
            {
                "content": outcome.text,
                "status": "complete" if outcome.state == "completed" else outcome.state,
                "finish_reason": outcome.finish_reason,
                "usage": outcome.usage,
                "error": outcome.error,
                "latency_ms": int((now() - turn["created_at"]).total_seconds() * 1000),
            },
        )
        await self._conversations.rows.release(turn["conversation_id"], turn["_id"], outcome.usage or {})
        return True
