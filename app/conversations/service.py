"""What can be done with conversations. The only writer of transcripts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from bson import ObjectId

from app.audit.trail import record
from app.conversations.forks import Forks
from app.conversations.model import Conversation, Message, Transition
from app.conversations.repository import (
    ConversationRepository,
    DeletedConversationRepository,
    MessageRepository,
)
from app.conversations.schemas import ConversationCreate, ConversationUpdate, MessageCreate, MessageUpdate
from app.kit.clock import now
from app.kit.editing import edited
from app.kit.errors import Conflict, Invalid, NotFound
from app.kit.etag import Versions
from app.kit.listing import Listing
from app.kit.locks import KeyedLocks
from app.kit.paging import Page
from app.kit.repository import Row, Scope
from app.kit.transactions import Transactions

HIDDEN_AT_ONCE = 5000
"""So many messages are hidden in the transaction that deletes their conversation (0.1 s measured)."""


Guard = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Raises Conflict when a conversation {_id, owner_id, hold_id} must not be removed."""


@dataclass(frozen=True)
class Appended:
    """The conversation after an append, and the new messages in order."""

    conversation: Row
    messages: Sequence[Row]


class ConversationService:
    def __init__(
        self,
        rows: ConversationRepository,
        deleted: DeletedConversationRepository,
        messages: MessageRepository,
        transactions: Transactions,
        *,
        max_message_bytes: int,
    ) -> None:
        self.rows = rows
        self.deleted = deleted
        self.messages = messages
        self.forks = Forks(rows, deleted, messages)
        self._transactions = transactions
        self._locks: KeyedLocks[ObjectId] = KeyedLocks()
        self._writers: dict[ObjectId, asyncio.Task[Any] | None] = {}
        self._max_message_bytes = max_message_bytes
        self._guard: Guard = _let_go

    def guard_with(self, guard: Guard) -> None:
        """Ask before a conversation is removed, within the transaction that does it."""
        self._guard = guard

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
        """Hide the conversation and its messages until it is restored or purged.

        At once, but for the older messages of a very long one: a transaction over tens of thousands of messages does
        not end (measured). Cut short before these are hidden, it can be done again.
        """

        async def write() -> None:
            owner = await self.rows.get(scope, id, fields=("owner_id", "hold_id"))
            await self._guard(owner)
            change = {"status": "deleted", **Transition.stored("deleted", owner["owner_id"])}
            row = await self.rows.update(scope, id, {"$set": change}, versions=versions)
            await self.messages.hide(id, after_seq=row["last_seq"] - HIDDEN_AT_ONCE)
            await record("conversation.deleted", "conversations", id, subject_id=owner["owner_id"])

        async with self.alone(id):
            try:
                await self._transactions.run(write)
            except NotFound:
                if not (await self._is_deleted(scope, id) and await self.messages.hide(id)):
                    raise
            await self.messages.hide(id)

    async def restore(self, scope: Scope, id: ObjectId) -> Row:
        """Make a deleted conversation active, with its messages.

        Raises NotFound unless it is a deleted one, and Conflict when some of it was purged already.
        """
        async with self.alone(id):
            row = await self.deleted.get(scope, id)
            await self._require_whole(id, row["last_seq"])
            await self.messages.show(id)

            async def write() -> Row:
                await self._require_whole(id, row["last_seq"])
                change = {"status": "active", **Transition.stored("restored", row["owner_id"])}
                restored = await self.deleted.update(scope, id, {"$set": change})
                await record("conversation.restored", "conversations", id, subject_id=row["owner_id"])
                return restored

            return await self._transactions.run(write)

    async def _require_whole(self, id: ObjectId, last_seq: int) -> None:
        """Raises Conflict when the deleted conversation is being removed for good."""
        if await self.deleted.is_being_purged(id) or await self.messages.count(id) < last_seq:
            raise Conflict("This conversation is being removed for good.", reason="purged")

    async def condemn(
        self, scope: Scope, id: ObjectId, versions: Versions, *, on_start: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Make it a deleted conversation if it is not one yet, and one that cannot be restored any more, as `purge`
        needs it. `on_start`: what belongs into the transaction that begins this, once. Raises NotFound, Conflict."""

        async def mark() -> None:
            row = await self.deleted.get(scope, id, fields=("owner_id", "hold_id", "purging_at"))
            await self._guard(row)
            await self.deleted.update(scope, id, {"$set": {"purging_at": now()}}, versions=versions)
            if row.get("purging_at") is None and on_start is not None:
                await on_start()

        async with self.alone(id):
            if not await self._is_deleted(scope, id):
                await self.delete(scope, id, versions)
                versions = None
            await self._transactions.run(mark)

    async def purge(self, scope: Scope, id: ObjectId) -> None:
        """Remove a condemned conversation and its messages for good.

        Cut short, it is a deleted one that can only be purged again.
        """

        async def write() -> None:
            row = await self.deleted.get(scope, id, fields=("owner_id",))
            await self.rows.delete(scope, id)
            await self.messages.purge(id)
            await record("conversation.purged", "conversations", id, subject_id=row["owner_id"])

        async with self.alone(id):
            await self.messages.purge(id)
            await self._transactions.run(write)

    async def _is_deleted(self, scope: Scope, id: ObjectId) -> bool:
        return await self.deleted.find(scope, {"_id": id, **self.deleted.resource.live_filter}) is not None

    async def append(
        self,
        scope: Scope,
        id: ObjectId,
        new: Sequence[MessageCreate],
        *,
        place: str = "body.messages.{index}.content",
    ) -> Appended:
        """Append messages with the next numbers: all of them or none. Raises NotFound, Invalid.

        `place`: how an error names the place of a content.
        """
        for index, message in enumerate(new):
            self._check_size(message.content, place.format(index=index))
        try:
            return await self.extend(scope, id, [message.model_dump() for message in new])
        except NotFound:
            await self.rows.get(scope, id, fields=("id",))  # Forbidden, when it may be read
            raise

    async def extend(
        self,
        scope: Scope,
        id: ObjectId,
        new: Sequence[Mapping[str, Any]],
        condition: Mapping[str, Any] = {},
        *,
        turn_id: ObjectId | None = None,
        waits: bool = False,
    ) -> Appended:
        """Append stored fields of messages in one transaction. `turn_id`: the turn they belong to, which holds the
        conversation from now on, or `waits` for the one that does.

        Raises NotFound when there is no such conversation, it does not meet the condition, or another turn (to wait
        for, none) holds it.
        """

        async def write() -> Appended:
            conversation = await self.rows.extend(
                scope,
                id,
                len(new),
                condition,
                claim_for=None if waits else turn_id,
                queue_for=turn_id if waits else None,
            )
            if conversation is None:
                raise NotFound("There is no such conversation.")
            first = conversation["last_seq"] - len(new) + 1
            shared = {
                "conversation_id": id,
                "owner_id": conversation["owner_id"],
                "turn_id": turn_id,
                "created_at": conversation["last_message_at"],
                "updated_at": conversation["last_message_at"],
            }
            messages = [Message(**shared, seq=first + index, **fields) for index, fields in enumerate(new)]
            return Appended(conversation, await self.messages.insert_many(messages))

        async with self.alone(id):
            return await self._transactions.run(write)

    @asynccontextmanager
    async def alone(self, id: ObjectId) -> AsyncIterator[None]:
        """Queue with this process's other writers of the conversation, who would meet in the database as conflicts
        (measured: 20 times longer waits).

        Whoever opens a transaction around a write enters here first, so that the next one comes after the commit. The
        task that is in may enter again.
        """
        task = asyncio.current_task()
        if self._writers.get(id) is task:
            yield
            return
        async with self._locks.hold(id):
            self._writers[id] = task
            try:
                yield
            finally:
                del self._writers[id]

    async def transcript(self, own: Scope, readable: Scope, id: ObjectId, listing: Listing) -> Page:
        """One page of a conversation's messages; raises NotFound when the conversation is not there.

        `own`: the messages of one's own; `readable`: the conversations that may be read, others' among them. Owners
        pay nothing for that: a message that may be seen proves that its conversation may be.
        """
        condition = {"conversation_id": id}
        page = await self.messages.page(own, listing, condition)
        if not page.rows:
            row = await self.rows.get(readable, id, fields=("owner_id",))
            if own.filter and row["owner_id"] != own.filter.get("owner_id"):
                owners = Scope({"owner_id": row["owner_id"]}, asker=own.asker)
                return await self.messages.page(owners, listing, condition)
        return page

    async def patch_message(self, scope: Scope, id: ObjectId, patch: Mapping[str, Any], versions: Versions) -> Row:
        """Change a message's feedback or metadata."""
        return await edited(
            lambda: self.messages.get(scope, id),
            patch,
            MessageUpdate,
            lambda update, seen: self.messages.update(scope, id, {"$set": update.model_dump()}, versions=seen),
            versions,
        )

    def _check_size(self, content: str, place: str) -> None:
        size = len(content.encode())
        if size > self._max_message_bytes:
            raise Invalid.field(place, f"has {size} bytes, {self._max_message_bytes} is the most")


async def _let_go(_: Mapping[str, Any]) -> None:
    """Nothing is held where nobody asks."""
