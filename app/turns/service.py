"""Turns: a question is stored together with the place of its answer, then a model answers.

Every refusal happens in `begin`, while a status can still be sent.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from app.conversations.service import ConversationService
from app.kit.errors import IdempotencyKeyReused, Invalid, NotFound, TurnInProgress
from app.kit.idempotency import fingerprint
from app.kit.locks import KeyedLocks
from app.kit.repository import Row, Scope
from app.kit.transactions import Transactions
from app.llm.history import fit_history
from app.llm.provider import ChatMessage, CompletionRequest
from app.llm.registry import Providers
from app.turns.finisher import TurnFinisher
from app.turns.log import END_EVENTS, Event, TurnLog, told_again
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
    """A turn that was begun, or that an earlier request with the same key has begun.

    `log` while it runs in this process; afterwards `texts`, the deltas of its answer.
    """

    turn: dict[str, Any]
    log: TurnLog | None = None
    texts: Sequence[str] = ()
    is_replay: bool = False

    async def events(self) -> AsyncGenerator[Event, None]:
        """The turn's events, from the first to the last."""
        if self.log is not None:
            async with aclosing(self.log.follow()) as events:
                async for event in events:
                    yield event
            return
        for event in told_again(self.turn, END_EVENTS[self.turn["state"]], self.texts):
            yield event

    async def outcome(self) -> dict[str, Any]:
        """The turn when it is over."""
        ended = self.turn
        async with aclosing(self.events()) as events:
            async for event in events:
                ended = ended if event.name == "delta" else event.data
        return ended


@dataclass(frozen=True)
class _Keyed:
    """A request with an idempotency key: whose key it is, and what was asked."""

    conversation_id: ObjectId
    key: str
    fingerprint: str


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
        self._keys: KeyedLocks[_Keyed] = KeyedLocks()

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
        if key is None:
            return await self._begin(scope, conversation, new, None)
        own_key = fingerprint(str(requester).encode(), key.encode())
        keyed = _Keyed(conversation_id, own_key, fingerprint(new.model_dump_json(exclude={"stream"}).encode()))
        async with self._keys.hold(keyed):  # the second of two equal requests finds the turn of the first one running
            if earlier := await self._find_earlier(keyed):
                return earlier
            try:
                return await self._begin(scope, conversation, new, keyed)
            except (DuplicateKeyError, TurnInProgress):
                if earlier := await self._find_earlier(keyed):  # another process was faster
                    return earlier
                raise

    async def _begin(self, scope: Scope, conversation: Row, new: TurnCreate, keyed: _Keyed | None) -> Begun:
        self._check_size(new.content)
        model = new.model or conversation["model"] or self._limits.default_model
        provider, upstream_model = self._providers.resolve(model)
        turn = Turn(
            conversation_id=conversation["_id"],
            owner_id=conversation["owner_id"],
            user_message_id=ObjectId(),
            assistant_message_id=ObjectId(),
            idempotency_key=keyed and keyed.key,
            fingerprint=keyed and keyed.fingerprint,
            model=model,
            sampling=Sampling(**new.model_dump(include=set(Sampling.model_fields))),
        )
        row, messages = await self._claim(scope, turn, new, provider.name)
        wire = render_turn(row, messages)
        request = partial(self._request, conversation, messages[1]["seq"], upstream_model, turn.sampling)
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

        while True:
            try:
                async with self._conversations.alone(turn.conversation_id):
                    return await self._transactions.run(write)
            except NotFound:  # absent, or held by another turn
                await self._make_way(scope, turn.conversation_id)

    async def _make_way(self, scope: Scope, conversation_id: ObjectId) -> None:
        """Return when the conversation is free: the turn of a process that is gone is ended first.

        Raises NotFound, and TurnInProgress when the turn that holds it is alive.
        """
        await self._conversations.rows.get(scope, conversation_id, fields=("id",))
        active = await self._conversations.rows.active_turn_id(scope, conversation_id)
        if active is None:
            return
        turn = await self.rows.find_abandoned(active)
        if turn is None or self.runner.log_of(active) is not None:
            raise _in_progress("Another turn is running in this conversation; wait for it or follow it.", active)
        await self.runner.interrupt(turn)

    async def _find_earlier(self, keyed: _Keyed) -> Begun | None:
        row = await self.rows.find_by_key(keyed.conversation_id, keyed.key)
        if row is None:
            return None
        if row["fingerprint"] != keyed.fingerprint:
            raise IdempotencyKeyReused("This Idempotency-Key came before with another question; choose a new one.")
        log = self.runner.log_of(row["_id"])  # before the turn is read: what has no log any more is over by then
        turn = await self._finisher.wire(row["_id"])
        if log is not None:
            return Begun(turn, log, is_replay=True)
        if turn["state"] not in TERMINAL_STATES:
            raise _in_progress("The turn of this key runs in another process.", row["_id"])
        return Begun(turn, texts=await self._deltas(turn), is_replay=True)

    async def _deltas(self, turn: dict[str, Any]) -> list[str]:
        """The deltas of a finished answer as they were once sent, or all of it in one when the log has expired."""
        content = (turn["assistant_message"] or {}).get("content", "")
        deltas = await self.rows.logged(turn["id"])
        if "".join(deltas) == content:
            return deltas
        return [content] if content else []

    async def _request(self, conversation: Row, before_seq: int, model: str, sampling: Sampling) -> CompletionRequest:
        newest_first: list[ChatMessage] = []
        characters = 0
        async for row in self._conversations.messages.history(conversation["_id"], before_seq=before_seq):
            if not row["content"]:  # an answer that was interrupted before its first word; some upstreams refuse those
                continue
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


def _in_progress(sentence: str, turn_id: ObjectId) -> TurnInProgress:
    path = f"/api/turns/{turn_id}"
    return TurnInProgress(sentence, headers={"Location": path}, turn=path, turn_id=turn_id)
