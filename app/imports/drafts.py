"""Conversations too long for one transaction, which are stored whole or not at all nevertheless.

A transaction of some ten thousand messages is refused by the database, or does not end within its deadline (measured).
So a draft is filled piece by piece: a deleted conversation, its messages hidden, under a source id of its own, by which
whoever imports the conversation next finds it and goes on. The last step gives it its place and its source id.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

import pymongo
from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from app.conversations.model import Conversation, Message, Transition
from app.conversations.repository import MessageRepository
from app.conversations.resource import CONVERSATIONS
from app.kit.cancellation import raise_if_cancelled
from app.kit.clock import now
from app.kit.deadlines import WRITE_SECONDS
from app.kit.errors import Conflict
from app.kit.repository import EVERYTHING, Repository, Scope
from app.kit.transactions import Transactions

MAX_MESSAGES = 2000
MAX_CHARACTERS = 2 * 1024 * 1024


_DRAFT = {"status": "deleted", "version": 0}


def fits(messages: int, characters: int) -> bool:
    """Whether one transaction can hold as much."""
    return messages <= MAX_MESSAGES and characters <= MAX_CHARACTERS


class DraftRepository(Repository[Conversation]):
    """Conversations whatever their status."""

    document = Conversation
    resource = replace(CONVERSATIONS, singular="draft", live_filter={})

    async def publish(self, scope: Scope, id: ObjectId, conversation: Conversation) -> bool:
        """Give the draft the place of the conversation, as one that nobody has changed; False when it is gone."""
        place = {name: getattr(conversation, name) for name in ("source_id", "status", "import_id", "updated_at")}
        with pymongo.timeout(WRITE_SECONDS):
            change = {**place, "version": 1, "arrived_at": now(), **Transition.stored("created", conversation.owner_id)}
            result = await self.collection.update_one(scope.where({"_id": id}), {"$set": change})
        return bool(result.matched_count)


class Drafts:
    def __init__(self, rows: DraftRepository, messages: MessageRepository, transactions: Transactions) -> None:
        self._rows = rows
        self._messages = messages
        self._transactions = transactions

    async def store(self, conversation: Conversation, messages: Sequence[Message]) -> bool:
        """Store the conversation under its owner and source id; False when another import has done it."""
        draft_id = f"draft:{conversation.source_id}"
        scope = Scope({"owner_id": conversation.owner_id, "source_id": draft_id})
        id = await self._begin(scope, conversation.model_copy(update={**_DRAFT, "source_id": draft_id}))
        hidden = {"conversation_id": id, "deleted_at": now()}
        await self._fill(id, [message.model_copy(update=hidden) for message in messages])
        await self._messages.show(id)
        try:
            if await self._rows.publish(scope, id, conversation):
                return True
        except DuplicateKeyError:
            await self._messages.hide(id)  # it has come another way meanwhile, and this one stays deleted
            return False
        if await self._rows.find(EVERYTHING, {"_id": id}) is None:
            await self._messages.purge(id)  # its owner has removed the draft
        return False

    async def _begin(self, scope: Scope, draft: Conversation) -> ObjectId:
        """The id of the draft that an import before this one has left, or of this one."""
        while (row := await self._rows.find(scope, {})) is None:
            try:
                row = await self._rows.insert(draft)
            except DuplicateKeyError:
                other = await self._rows.find(EVERYTHING, {"_id": draft.id})
                if other is not None and await self._rows.find(scope, {}) is None:
                    raise Conflict(f"Conversation {draft.id} was made by somebody else just now.") from None
                continue  # another import has begun it just now
            break
        id: ObjectId = row["_id"]
        return id

    async def _fill(self, id: ObjectId, messages: Sequence[Message]) -> None:
        """Add what is missing behind the messages that are there: always the first ones, without a gap."""

        async def write() -> int:
            stored = await self._messages.count(id)
            if piece := _piece(messages[stored:]):
                await self._messages.insert_many(piece)
            return stored + len(piece)

        stored = 0
        while stored < len(messages):
            raise_if_cancelled()
            try:
                stored = await self._transactions.run(write)
            except DuplicateKeyError as error:
                there = await self._messages.count(id)
                if there <= stored:
                    raise Conflict("A message with one of these ids was made by somebody else just now.") from error
                stored = there  # another import has added them just now


def _piece(messages: Sequence[Message]) -> Sequence[Message]:
    """As many of the first messages as fit one transaction, at least one."""
    characters: Iterator[int] = accumulate(len(message.content) for message in messages[:MAX_MESSAGES])
    count = sum(1 for total in characters if total <= MAX_CHARACTERS)
    return messages[: max(count, 1)]
