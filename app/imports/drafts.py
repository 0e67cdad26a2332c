"""Conversations too long for one transaction, which are stored whole or not at all nevertheless.

A transaction of some ten thousand messages is refused by the database, or does not end within its deadline (measured).
So a draft is filled piece by piece: a deleted conversation, its messages hidden, under a source id of its own, by which
whoever imports the conversation next finds it and goes on. The last step gives it its place and its source id.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from app.conversations.model import Conversation, Message, Transition
from app.conversations.repository import MessageRepository
from app.conversations.resource import CONVERSATIONS
from app.kit.cancellation import raise_if_cancelled
from app.kit.clock import now
from app.kit.errors import NotFound
from app.kit.repository import EVERYTHING, Repository, Scope
from app.kit.transactions import Transactions

MAX_MESSAGES = 2000
MAX_CHARACTERS = 2 * 1024 * 1024


def fits(messages: int, characters: int) -> bool:
    """Whether one transaction can hold as much."""
    return messages <= MAX_MESSAGES and characters <= MAX_CHARACTERS


class DraftRepository(Repository[Conversation]):
    """Conversations whatever their status."""

    document = Conversation
    resource = replace(CONVERSATIONS, singular="draft", live_filter={})


class Drafts:
    def __init__(self, rows: DraftRepository, messages: MessageRepository, transactions: Transactions) -> None:
        self._rows = rows
        self._messages = messages
        self._transactions = transactions

    async def store(self, conversation: Conversation, messages: Sequence[Message]) -> bool:
        """Store the conversation under its owner and source id; False when another import has done it."""
        draft_id = f"draft:{conversation.source_id}"
        scope = Scope({"owner_id": conversation.owner_id, "source_id": draft_id})
        id = await self._begin(scope, conversation.model_copy(update={"source_id": draft_id, "status": "deleted"}))
        hidden = {"conversation_id": id, "deleted_at": now()}
        await self._fill(id, [message.model_copy(update=hidden) for message in messages])
        await self._messages.show(id)
        try:
            place = {
                "source_id": conversation.source_id,
                "status": conversation.status,
                **Transition.stored("created", conversation.owner_id),
            }
            await self._rows.update(scope, id, {"$set": place})
        except DuplicateKeyError:
            await self._messages.hide(id)  # it has come another way meanwhile, and this one stays deleted
            return False
        except NotFound:
            if await self._rows.find(EVERYTHING, {"_id": id}) is None:
                await self._messages.purge(id)  # its owner has removed the draft
            return False
        return True

    async def _begin(self, scope: Scope, draft: Conversation) -> ObjectId:
        """The id of the draft that an import before this one has left, or of this one."""
        while (row := await self._rows.find(scope, {})) is None:
            try:
                row = await self._rows.insert(draft)
            except DuplicateKeyError:
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
            except DuplicateKeyError:
                continue  # another import has added them just now


def _piece(messages: Sequence[Message]) -> Sequence[Message]:
    """As many of the first messages as fit one transaction, at least one."""
    characters: Iterator[int] = accumulate(len(message.content) for message in messages[:MAX_MESSAGES])
    count = sum(1 for total in characters if total <= MAX_CHARACTERS)
    return messages[: max(count, 1)]
