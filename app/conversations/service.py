"""What can be done with conversations. The only writer of transcripts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bson import ObjectId

from app.conversations.model import Conversation, Message
from app.conversations.repository import ConversationRepository, MessageRepository
from app.conversations.schemas import ConversationCreate, ConversationUpdate, MessageCreate, MessageUpdate
from app.kit.editing import edited
from app.kit.errors import Invalid, NotFound
from app.kit.etag import Versions
from app.kit.listing import Listing
from app.kit.locks import KeyedLocks
from app.kit.paging import Page
from app.kit.repository import Row, Scope
from app.kit.transactions import Transactions


@dataclass(frozen=True)
class Appended:
    """The conversation after an append, and the new messages in order."""

    conversation: Row
    messages: Sequence[Row]


class ConversationService:
    def __init__(
        self,
        rows: ConversationRepository,
        messages: MessageRepository,
        transactions: Transactions,
        *,
        max_message_bytes: int,
    ) -> None:
        self.rows = rows
        self.messages = messages
        self._transactions = transactions
        self._locks: KeyedLocks[ObjectId] = KeyedLocks()
        self._max_message_bytes = max_message_bytes

    async def create(self, owner_id: ObjectId, new: ConversationCreate) -> Row:
        return await self.rows.insert(Conversation(**{**new.model_dump(), "owner_id": owner_id}))

    async def replace(self, scope: Scope, id: ObjectId, update: ConversationUpdate, versions: Versions) -> Row:
        return await self.rows.update(scope, id, {"$set": update.model_dump()}, versions=versions)

    async def patch(self, scope: Scope, id: ObjectId, patch: Mapping[str, Any], versions: Versions) -> Row:
        return await edited(
            lambda: self.rows.get(scope, id),
            patch,
            ConversationUpdate,
            lambda update, seen: self.replace(scope, id, update, seen),
            versions,
        )

    async def delete(self, scope: Scope, id: ObjectId, versions: Versions) -> None:
        """Hide the conversation and its messages until it is restored or purged."""

        async def write() -> None:
            await self.rows.update(scope, id, {"$set": {"status": "deleted"}}, versions=versions)
            await self.messages.hide(id, hidden=True)

        await self._transactions.run(write)

    async def restore(self, scope: Scope, id: ObjectId) -> Row:
        """Bring a deleted conversation back with its messages; raises NotFound when it is not there."""

        async def write() -> Row:
            if not await self.rows.restore(scope, id):
                raise NotFound("There is no such deleted conversation.")
            await self.messages.hide(id, hidden=False)
            return await self.rows.get(scope, id)

        return await self._transactions.run(write)

    async def purge(self, scope: Scope, id: ObjectId, versions: Versions) -> None:
        """Remove a conversation and its messages for good. Cut short, it is a deleted one and can be purged again."""
        if not await self.rows.is_deleted(scope, id):
            await self.delete(scope, id, versions)
        await self.messages.purge(id)
        await self.rows.delete(scope, id)

    async def append(self, scope: Scope, id: ObjectId, new: Sequence[MessageCreate]) -> Appended:
        """Append messages with the next numbers: all of them or none. Raises NotFound, Invalid."""
        self._check_sizes([message.content for message in new])
        return await self.extend(scope, id, [message.model_dump() for message in new])

    async def extend(
        self, scope: Scope, id: ObjectId, new: Sequence[Mapping[str, Any]], *, turn_id: ObjectId | None = None
    ) -> Appended:
        """Append stored fields of messages in one transaction; with `turn_id` only if no other turn is running,
        which then holds the conversation. Raises NotFound when there is no conversation to extend."""

        async def write() -> Appended:
            conversation = await self.rows.extend(scope, id, len(new), turn_id=turn_id)
            if conversation is None:
                raise NotFound("There is no such conversation.")
            first = conversation["last_seq"] - len(new) + 1
            owner_id = conversation["owner_id"]
            messages = [
                Message(conversation_id=id, owner_id=owner_id, seq=first + index, turn_id=turn_id, **fields)
                for index, fields in enumerate(new)
            ]
            return Appended(conversation, await self.messages.insert_many(messages))

        # Writers of one process queue here instead of conflicting in the database (measured: 20 times shorter waits).
        async with self._locks.hold(id):
            return await self._transactions.run(write)

    async def transcript(self, scope: Scope, id: ObjectId, listing: Listing) -> Page:
        """One page of a conversation's messages; raises NotFound when the conversation is not there."""
        await self.rows.get(scope, id, fields=("id",))
        return await self.messages.page(scope, listing, {"conversation_id": id})

    async def patch_message(self, scope: Scope, id: ObjectId, patch: Mapping[str, Any], versions: Versions) -> Row:
        """Change a message's feedback or metadata."""
        return await edited(
            lambda: self.messages.get(scope, id),
            patch,
            MessageUpdate,
            lambda update, seen: self.messages.update(scope, id, {"$set": update.model_dump()}, versions=seen),
            versions,
        )

    def _check_sizes(self, contents: Sequence[str]) -> None:
        for index, content in enumerate(contents):
            size = len(content.encode())
            if size > self._max_message_bytes:
                raise Invalid.field(
                    f"body.messages.{index}.content" if len(contents) > 1 else "body.content",
                    f"has {size} bytes, {self._max_message_bytes} is the most",
                )
