"""Turns: a question is stored together with the place of its answer, then a model answers.

Every refusal happens in `begin`, while a status can still be sent.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from app.conversations.service import ConversationService
from app.kit.errors import IdempotencyKeyReused, Invalid, NotFound, TurnInProgress
from app.kit.idempotency import fingerprint
from app.kit.repository import Row, Scope
from app.kit.transactions import Transactions
from app.llm.history import fit_history
from app.llm.provider import ChatMessage, CompletionRequest
from app.llm.registry import Providers
from app.turns.finisher import TurnFinisher
from app.turns.log import Event, EventName, TurnLog, told_again
from app.turns.model import TERMINAL_STATES, Sampling, Turn
from app.turns.repository import TurnRepository
from app.turns.runner import TurnRunner
from app.turns.schemas import TurnCreate
from app.turns.wire import render_turn


@dataclass(frozen=True)
class Limits:
    """How much of a conversation is sent to a model, and how large a question may be."""

    default_model: str
    history_max_messages: int
    history_max_tokens: int
    max_message_bytes: int


@dataclass(frozen=True)
class Begun:
    """A turn that was begun, or that an earlier request with the same key has begun."""

    turn: dict[str, Any]
    log: TurnLog | None
    is_replay: bool = False

    async def events(self) -> AsyncGenerator[Event, None]:
        """The turn's events, from the first to the last."""
        if self.log is not None:
            async for event in self.log.follow():
                yield event
            return
        state: EventName = f"turn.{self.turn['state']}"  # type: ignore[assignment]
        for event in told_again(self.turn, state, self.turn["assistant_message"]["content"]):
            yield event

    async def outcome(self) -> dict[str, Any]:
        """The turn when it is over; the turn so far when its process lost it."""
        last = self.turn
        async for event in self.events():
            last = event.data if event.name != "delta" and event.data else last
        return last


class TurnService:
    def __init__(
        self,
        rows: TurnRepository,
        runner: TurnRunner,
        finisher: TurnFinisher,
        conversations: ConversationService,
        providers: Providers,
        transactions: Transactions,
        limits: Limits,
    ) -> None:
        self.rows = rows
        self.runner = runner
        self._finisher = finisher
        self._conversations = conversations
        self._providers = providers
        self._transactions = transactions
        self._limits = limits

    async def get(self, scope: Scope, id: ObjectId) -> dict[str, Any]:
        """The turn as clients see it; raises NotFound."""
        await self.rows.get(scope, id)
        return await self._finisher.wire(id)

    async def begin(
        self, scope: Scope, conversation_id: ObjectId, new: TurnCreate, *, requester: ObjectId, key: str | None = None
    ) -> Begun:
        """Store the question and start the answer, or find the turn that the same key has begun.

        Raises NotFound, Invalid (unknown model, too large), TurnInProgress, IdempotencyKeyReused.
        """
        conversation = await self._conversations.rows.get(scope, conversation_id)
        stored_key = None if key is None else fingerprint(str(requester).encode(), key.encode())
        print_ = fingerprint(new.model_dump_json(exclude={"stream"}).encode())
        if stored_key and (earlier := await self._find_by_key(conversation_id, stored_key, print_)):
            return earlier
        self._check_size(new.content)
        model = new.model or conversation["model"] or self._limits.default_model
        provider, upstream_model = self._providers.resolve(model)
        turn = Turn(
            conversation_id=conversation_id,
            owner_id=conversation["owner_id"],
            user_message_id=ObjectId(),
            assistant_message_id=ObjectId(),
            idempotency_key=stored_key,
            fingerprint=print_ if stored_key else None,
            model=model,
            sampling=Sampling(**new.model_dump(include=set(Sampling.model_fields))),
        )
        try:
            row, messages = await self._claim(scope, turn, new, provider.name)
        except (DuplicateKeyError, TurnInProgress) as error:
            if stored_key and (earlier := await self._find_by_key(conversation_id, stored_key, print_)):
                return earlier
            if isinstance(error, TurnInProgress):
                raise
            raise TurnInProgress(_BUSY) from error
        wire = render_turn(row, messages)

        async def request() -> CompletionRequest:
            return await self._request(conversation, messages[1]["seq"], upstream_model, turn.sampling)

        return Begun(wire, self.runner.start(row, wire, provider, request))

    async def _claim(self, scope: Scope, turn: Turn, new: TurnCreate, provider: str) -> tuple[Row, list[Row]]:
        question = {"id": turn.user_message_id, "role": "user", "content": new.content, "metadata": new.metadata}
        answer = {
            "id": turn.assistant_message_id,
            "role": "assistant",
            "content": "",
            "status": "streaming",
            "model": turn.model,
            "provider": provider,
        }

        async def write() -> tuple[Row, list[Row]]:
            appended = await self._conversations.extend(
                scope, turn.conversation_id, [question, answer], turn_id=turn.id
            )
            return await self.rows.begin(turn, self.runner.worker), list(appended.messages)

        try:
            return await self._transactions.run(write)
        except NotFound:
            await self._make_way(scope, turn.conversation_id)
            return await self._transactions.run(write)

    async def _make_way(self, scope: Scope, conversation_id: ObjectId) -> None:
        """End the turn that holds the conversation if its process is gone; raises TurnInProgress if it is not."""
        active = await self._conversations.rows.active_turn_id(scope, conversation_id)
        if active is None:
            return
        turn = await self.rows.find_abandoned(active)
        if turn is None:
            path = f"/api/turns/{active}"
            raise TurnInProgress(_BUSY, headers={"Location": path}, turn=path, turn_id=active)
        await self.runner.interrupt(turn)

    async def _find_by_key(self, conversation_id: ObjectId, key: str, print_: str) -> Begun | None:
        row = await self.rows.find_by_key(conversation_id, key)
        if row is None:
            return None
        if row["fingerprint"] != print_:
            raise IdempotencyKeyReused("This Idempotency-Key came before with another question; choose a new one.")
        log = self.runner.log_of(row["_id"])  # before the turn is read: what has no log any more is over by then
        wire = await self._finisher.wire(row["_id"])
        if log is None and wire["state"] not in TERMINAL_STATES:
            path = f"/api/turns/{row['_id']}"
            raise TurnInProgress(
                "The turn of this key runs in another process.",
                headers={"Location": path},
                turn=path,
                turn_id=row["_id"],
            )
        return Begun(wire, log, is_replay=True)

    async def _request(self, conversation: Row, before_seq: int, model: str, sampling: Sampling) -> CompletionRequest:
        newest_first: list[ChatMessage] = []
        characters = 0
        async for row in self._conversations.messages.history(conversation["_id"], before_seq=before_seq):
            newest_first.append(ChatMessage(row["role"], row["content"]))
            characters += len(row["content"])
            # A token is at most about four characters, so what lies behind this cannot fit the budget.
            if (
                len(newest_first) > self._limits.history_max_messages
                or characters > 4 * self._limits.history_max_tokens
            ):
                break
        messages = fit_history(
            newest_first[::-1],
            system_prompt=conversation["system_prompt"],
            max_messages=self._limits.history_max_messages,
            max_tokens=self._limits.history_max_tokens,
        )
        return CompletionRequest(model, messages, **sampling.model_dump())

    def _check_size(self, content: str) -> None:
        size = len(content.encode())
        if size > self._limits.max_message_bytes:
            raise Invalid.field("body.content", f"has {size} bytes, {self._limits.max_message_bytes} is the most")


_BUSY = "Another turn is running in this conversation; wait for it or follow it."
