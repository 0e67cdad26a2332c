"""The beginning of a turn: stored together with its messages, once for each key, and run here.

Every refusal happens here, while a status can still be sent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from app.conversations.repository import SUPERSEDED_AT_ONCE
from app.conversations.service import ConversationService
from app.kit.errors import IdempotencyKeyReused, NotFound, TurnInProgress, VerbatimError
from app.kit.idempotency import fingerprint
from app.kit.locks import KeyedLocks
from app.kit.repository import Row, Scope
from app.kit.transactions import Transactions
from app.limits.quotas import Payer, Quotas
from app.llm.service import LanguageModels
from app.turns.answer import Answer
from app.turns.exchange import Exchange
from app.turns.finisher import TurnFinisher
from app.turns.model import TERMINAL_STATES, Turn, TurnPayer
from app.turns.paying import payer_of
from app.turns.repository import TurnRepository
from app.turns.request import Known, RequestBuilder
from app.turns.resource import STORED_TURN
from app.turns.runner import TurnRunner
from app.turns.streams import TurnStreams
from app.turns.wire import render_turn
from app.turns.workers import Membership

MAX_WAITING = 20
"""Turns that may wait in one conversation."""
AT_ONCE = 16
"""Turns of a process that are being stored. A crowd waits before the clock of its transactions begins, and leaves
connections to those that end."""

Cancel = Callable[[Scope, ObjectId], Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Begun:
    """A turn that was begun, or that an earlier request with the same key has begun."""

    turn: dict[str, Any]
    is_replay: bool = False


@dataclass(frozen=True)
class Ask:
    """What is asked in a conversation: how its messages come about, and the parameters of the answer.

    `what` tells requests with one idempotency key apart. `when_busy`: `refuse`, `enqueue` or `cancel`.
    """

    what: bytes
    when_busy: str
    exchange: Callable[[Row], Awaitable[Exchange]]
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class _Keyed:
    """A request with an idempotency key: whose key it is, and what was asked."""

    conversation_id: ObjectId
    key: str
    fingerprint: str


class Beginnings:
    def __init__(
        self,
        rows: TurnRepository,
        runner: TurnRunner,
        streams: TurnStreams,
        finisher: TurnFinisher,
        requests: RequestBuilder,
        conversations: ConversationService,
        models: LanguageModels,
        membership: Membership,
        transactions: Transactions,
        quotas: Quotas,
        *,
        default_model: str,
    ) -> None:
        self._rows = rows
        self._runner = runner
        self._streams = streams
        self._finisher = finisher
        self._requests = requests
        self._conversations = conversations
        self._models = models
        self._membership = membership
        self._transactions = transactions
        self._quotas = quotas
        self._default_model = default_model
        self._keys: KeyedLocks[_Keyed] = KeyedLocks()
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def begin(
        self,
        scope: Scope,
        conversation_id: ObjectId,
        ask: Ask,
        *,
        payer: Payer,
        key: str | None,
        cancel: Cancel,
    ) -> Begun:
        """Store and run what is asked, or find the turn that the same key has begun.

        `cancel`: ends a turn that is in the way. Raises NotFound, Invalid, Conflict, TurnInProgress,
        IdempotencyKeyReused, QuotaExceeded and Unavailable.
        """
        conversation = await self._conversations.rows.get(scope, conversation_id)
        if key is None:
            return await self._begin(scope, conversation, ask, payer, None, cancel)
        own_key = fingerprint(str(payer.user_id).encode(), key.encode())
        keyed = _Keyed(conversation_id, own_key, fingerprint(ask.what))
        async with self._keys.hold(keyed):  # the second of two equal requests finds the turn of the first one running
            if earlier := await self._find_earlier(keyed):
                return earlier
            try:
                return await self._begin(scope, conversation, ask, payer, keyed, cancel)
            except (DuplicateKeyError, VerbatimError):
                # Another process was faster. What stands in the way may be this very request's doing, of a process that
                # died over it: an answer that is superseded already, or a turn that runs.
                if earlier := await self._find_earlier(keyed):
                    return earlier
                raise

    async def _begin(
        self, scope: Scope, conversation: Row, ask: Ask, payer: Payer, keyed: _Keyed | None, cancel: Cancel
    ) -> Begun:
        model = ask.parameters["model"] or conversation["model"] or self._default_model
        provider = self._models.check(model)
        self._models.admit(model)
        await self._quotas.admit(payer)
        fields = {
            **ask.parameters,
            "model": model,
            "conversation_id": conversation["_id"],
            "owner_id": conversation["owner_id"],
            "payer": TurnPayer(**asdict(payer)),
            "idempotency_key": keyed and keyed.key,
            "fingerprint": keyed and keyed.fingerprint,
        }
        waits = False
        while True:
            exchange = await ask.exchange(conversation)
            id = ObjectId()
            try:
                with self._runner.expecting(id):
                    turn, wire, messages = await self._claim(scope, id, exchange, fields, provider, waits=waits)
                    if not waits:
                        self._run(turn, wire, Known(conversation["system_prompt"], messages))
            except NotFound:  # absent, changed, or held by another turn (to wait for: by none)
                conversation = await self._conversations.rows.get(scope, conversation["_id"])
                waits = await self._make_way(scope, conversation["_id"], ask, exchange, cancel)
            else:
                return Begun(wire)

    async def _claim(
        self, scope: Scope, id: ObjectId, exchange: Exchange, fields: Mapping[str, Any], provider: str, *, waits: bool
    ) -> tuple[Row, dict[str, Any], Sequence[Row]]:
        """Store the turn with its messages, all or nothing; answers its row, how clients see it, and the messages
        before the answer. Raises NotFound."""
        worker = await self._membership.assure()
        answer_id, conversation_id = ObjectId(), fields["conversation_id"]
        answer = {
            "id": answer_id,
            "role": "assistant",
            "content": "",
            "status": "streaming",
            "model": fields["model"],
            "provider": provider,
        }

        span = exchange.superseded
        later = span if span is not None and span.to_seq - span.from_seq >= SUPERSEDED_AT_ONCE else None

        async def write() -> tuple[Row, dict[str, Any], Sequence[Row]]:
            if span is not None and later is None:
                await self._conversations.messages.supersede(conversation_id, **span.model_dump())
            appended = await self._conversations.extend(
                scope, conversation_id, [*exchange.new, answer], exchange.condition, turn_id=id, waits=waits
            )
            messages = appended.messages
            turn = Turn(
                **fields,
                id=id,
                user_message_id=exchange.user_message_id,
                assistant_message_id=answer_id,
                answer_seq=messages[-1]["seq"],
                state="queued" if waits else "running",
                worker=None if waits else worker,
                started_at=None if waits else messages[-1]["created_at"],
                supersedes=later,
            )
            row = await self._rows.insert(turn)
            wire = render_turn(row, *messages, exchange.earlier_question)
            return {name: row[name] for name in STORED_TURN}, wire, messages[:-1]

        async with self._slots, self._conversations.alone(conversation_id):
            claimed = await self._transactions.run(write)
            await self._finisher.supersede(claimed[0])
            return claimed

    async def _make_way(
        self, scope: Scope, conversation_id: ObjectId, ask: Ask, exchange: Exchange, cancel: Cancel
    ) -> bool:
        """What to do about the turn that holds the conversation: answers whether to wait behind it.

        Raises TurnInProgress.
        """
        active = await self._conversations.rows.active_turn(scope, conversation_id)
        if active is None:
            return False
        turn_id, waiting = active
        if ask.when_busy == "cancel":
            turn = await cancel(Scope({"conversation_id": conversation_id}), turn_id)
            if turn["state"] in TERMINAL_STATES:
                return False
        if ask.when_busy == "enqueue" and not exchange.condition:
            if waiting < MAX_WAITING:
                return True
            raise _in_progress(f"{MAX_WAITING} turns are waiting already; wait for some of them.", turn_id)
        raise _in_progress("Another turn is running in this conversation; wait for it or follow it.", turn_id)

    async def _find_earlier(self, keyed: _Keyed) -> Begun | None:
        row = await self._rows.find_by_key(keyed.conversation_id, keyed.key)
        if row is None:
            return None
        if row["fingerprint"] != keyed.fingerprint:
            raise IdempotencyKeyReused("This Idempotency-Key came before with another question; choose a new one.")
        return Begun(await self._finisher.wire(row["_id"]), is_replay=True)

    async def go_on(self, id: ObjectId) -> None:
        """Run the turn that has waited, unless another process does."""
        if self._runner.is_stopping:
            return  # another process finds it
        worker = await self._membership.assure()
        with self._runner.expecting(id):
            turn = await self._rows.start(id, worker)
            if turn is not None:
                self._run(turn, await self._finisher.wire(id))

    def _run(self, turn: Row, wire: dict[str, Any], known: Known | None = None) -> None:
        answer = Answer(self._models, turn["model"], self._quotas.meter(payer_of(turn)))
        log = self._runner.start(turn, wire, answer, lambda: self._requests.build(turn, known))
        self._streams.now_here(turn["_id"], log)


def _in_progress(sentence: str, turn_id: ObjectId) -> TurnInProgress:
    path = f"/api/turns/{turn_id}"
    return TurnInProgress(sentence, headers={"Location": path}, turn=path, turn_id=turn_id)
