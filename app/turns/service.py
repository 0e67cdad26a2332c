"""What can be done with turns: ask, follow, cancel, answer again, run again."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson
from bson import ObjectId

from app.kit.repository import Scope
from app.limits.quotas import Payer
from app.turns.beginning import Ask, Beginnings, Begun
from app.turns.events import EventRepository
from app.turns.exchange import Exchanges
from app.turns.finisher import Outcome, TurnFinisher
from app.turns.model import TERMINAL_STATES, Sampling
from app.turns.repository import TurnRepository
from app.turns.runner import TurnRunner
from app.turns.schemas import DELIVERY, Parameters, TurnCreate
from app.turns.streams import ONLY_THE_END, TurnStreams, outcome_of

CANCEL_SECONDS = 10.0
"""How long is waited for a cancelled turn to end."""


class TurnService:
    def __init__(
        self,
        rows: TurnRepository,
        events: EventRepository,
        runner: TurnRunner,
        streams: TurnStreams,
        finisher: TurnFinisher,
        exchanges: Exchanges,
        beginnings: Beginnings,
    ) -> None:
        self.rows = rows
        self.runner = runner
        self.streams = streams
        self.beginnings = beginnings
        self._events = events
        self._finisher = finisher
        self._exchanges = exchanges

    async def get(self, scope: Scope, id: ObjectId) -> dict[str, Any]:
        """The turn as clients see it; raises NotFound."""
        await self.rows.get(scope, id, fields=("state",))
        return await self._finisher.wire(id)

    async def outcome(self, turn: Mapping[str, Any]) -> dict[str, Any]:
        """The turn of this wire object when it is over."""
        if turn["state"] in TERMINAL_STATES:
            return dict(turn)
        return await outcome_of(await self.streams.open(turn["id"], after=ONLY_THE_END))

    async def ask(
        self, scope: Scope, conversation_id: ObjectId, new: TurnCreate, *, payer: Payer, key: str | None = None
    ) -> Begun:
        """Store the question and start the answer, or find the turn that the same key has begun.

        Raises NotFound, Invalid (unknown model, too large), Conflict, TurnInProgress, IdempotencyKeyReused,
        Unavailable (the model takes no more calls).
        """
        ask = Ask(_content(new), new.when_busy, lambda row: self._exchanges.of_question(row, new), _parameters(new))
        return await self._begin(scope, conversation_id, ask, payer, key)

    async def regenerate(
        self, scope: Scope, conversation_id: ObjectId, new: Parameters, *, payer: Payer, key: str | None = None
    ) -> Begun:
        """Answer the last question again; the answer it had stays as `superseded`. Raises as `ask` does."""
        ask = Ask(b"regenerate" + _content(new), new.when_busy, self._exchanges.of_last_question, _parameters(new))
        return await self._begin(scope, conversation_id, ask, payer, key)

    async def retry(
        self,
        scope: Scope,
        conversations: Scope,
        id: ObjectId,
        *,
        when_busy: str,
        payer: Payer,
        key: str | None = None,
    ) -> Begun:
        """Run a turn that failed, was cancelled or interrupted once more, as a new turn. Raises as `ask` does.

        `scope`: of turns; `conversations`: of those that may be gone on with.
        """
        await self.rows.get(scope, id, fields=("state",))
        turn = await self.rows.find_stored({"_id": id}) or {}
        names = ("model", "sampling", "tools", "tool_choice", "wants_suggestions")
        ask = Ask(
            b"retry" + str(id).encode(),
            when_busy,
            lambda row: self._exchanges.of_retry(row, turn),
            {name: turn[name] for name in names},
        )
        return await self._begin(conversations, turn["conversation_id"], ask, payer, key)

    async def _begin(self, scope: Scope, conversation_id: ObjectId, ask: Ask, payer: Payer, key: str | None) -> Begun:
        return await self.beginnings.begin(scope, conversation_id, ask, payer=payer, key=key, cancel=self.cancel)

    async def cancel(self, scope: Scope, id: ObjectId) -> dict[str, Any]:
        """End a turn with the text it has, wherever it runs, and answer it; one that is over stays as it is.

        A process that does not answer is not waited for: then the turn that is answered still runs. Raises NotFound.
        """
        await self.rows.get(scope, id, fields=("state",))
        turn = await self.rows.find_stored({"_id": id})
        if turn is not None and turn["state"] == "queued":
            ended = await self._finisher.finish(turn, Outcome("cancelled", ""), worker=None, last=1)
            if ended is not None and ended.next_turn_id is not None:
                await self.beginnings.go_on(ended.next_turn_id)
        # Also when it began to run in this very moment.
        if not self.runner.cancel(id):
            await self.rows.request_cancel(scope, id)
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                return await outcome_of(await self.streams.open(id, after=ONLY_THE_END))
        return await self._finisher.wire(id)

    async def cancel_all(self, scope: Scope, conversation_id: ObjectId) -> None:
        """End every turn of a conversation, those that wait first."""
        for turn in await self.rows.unfinished(conversation_id):
            await self.cancel(scope, turn["_id"])

    async def purge(self, conversation_id: ObjectId) -> None:
        """Remove a conversation's turns and their logs for good."""
        await self._events.delete(await self.rows.ids_of_conversation(conversation_id))
        await self.rows.delete_of_conversation(conversation_id)


def _content(new: Parameters) -> bytes:
    """What is asked, without how it is delivered."""
    return new.model_dump_json(exclude=set(DELIVERY)).encode()


def _parameters(new: Parameters) -> dict[str, Any]:
    return {
        "model": new.model,
        "sampling": Sampling(**new.model_dump(include=set(Sampling.model_fields))).model_dump(),
        "tools": _text(new.tools),
        "tool_choice": _text(new.tool_choice),
        "wants_suggestions": new.suggestions,
    }


def _text(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
