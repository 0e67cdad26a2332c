"""Queries of conversations and messages."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pymongo
from bson import ObjectId
from pymongo import ReturnDocument

from app.conversations.model import Conversation, Message
from app.conversations.resource import CONVERSATIONS, MESSAGES
from app.kit.clock import now
from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.kit.repository import Repository, Row, Scope
from app.kit.transactions import current_session

HISTORY_BATCH = 100


class ConversationRepository(Repository[Conversation]):
    document = Conversation
    resource = CONVERSATIONS

    async def extend(self, scope: Scope, id: ObjectId, count: int, *, turn_id: ObjectId | None = None) -> Row | None:
        """Allot the next `count` numbers; answers the row after it, or None when it is absent or (with `turn_id`,
        which claims the conversation) busy with another turn."""
        claim = {} if turn_id is None else {"active_turn_id": None}
        condition = scope.where({"_id": id}, CONVERSATIONS.live_filter, claim)
        instant = now()
        change: dict[str, Any] = {
            "$inc": {"last_seq": count, "message_count": count, "version": 1},
            "$set": {"last_message_at": instant, "updated_at": instant},
        }
        if turn_id is not None:
            change["$set"]["active_turn_id"] = turn_id
        with pymongo.timeout(WRITE_SECONDS):
            return await self.collection.find_one_and_update(
                condition, change, return_document=ReturnDocument.AFTER, session=current_session()
            )

    async def release(self, id: ObjectId, turn_id: ObjectId, tokens: dict[str, int]) -> None:
        """Let the next turn in, and add what this one used."""
        change = {
            "$set": {"active_turn_id": None, "updated_at": now()},
            "$inc": {"version": 1, **{f"tokens.{name}": number for name, number in tokens.items()}},
        }
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.update_one({"_id": id, "active_turn_id": turn_id}, change, session=current_session())

    async def active_turn_id(self, scope: Scope, id: ObjectId) -> ObjectId | None:
        """The turn that holds the conversation; None when it is free."""
        with pymongo.timeout(READ_SECONDS):
            row = await self.collection.find_one(scope.where({"_id": id}), {"active_turn_id": 1})
        return None if row is None else row["active_turn_id"]

    async def ids_of_owner(self, owner_id: ObjectId, *, limit: int) -> list[ObjectId]:
        """Ids of an owner's conversations, deleted ones included."""
        with pymongo.timeout(READ_SECONDS):
            rows = await self.collection.find({"owner_id": owner_id}, {"_id": 1}, limit=limit).to_list()
        return [row["_id"] for row in rows]

    async def known_sources(self, owner_id: ObjectId, source_ids: Iterable[str]) -> set[str]:
        """Which of the source ids this owner has already."""
        condition = {"owner_id": owner_id, "source_id": {"$in": list(source_ids)}}
        with pymongo.timeout(READ_SECONDS):
            rows = await self.collection.find(condition, {"source_id": 1}, session=current_session()).to_list()
        return {row["source_id"] for row in rows}

    async def insert_many(self, conversations: Sequence[Conversation]) -> None:
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.insert_many(
                [conversation.to_row() for conversation in conversations], session=current_session()
            )


class DeletedConversationRepository(Repository[Conversation]):
    """Conversations that were deleted: all that is left to do is to restore or to purge them."""

    document = Conversation
    resource = replace(CONVERSATIONS, singular="deleted conversation", live_filter={"status": "deleted"})


class MessageRepository(Repository[Message]):
    document = Message
    resource = MESSAGES

    async def insert_many(self, messages: Sequence[Message]) -> list[Row]:
        rows = [message.to_row() for message in messages]
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.insert_many(rows, session=current_session())
        return rows

    async def history(self, conversation_id: ObjectId, *, before_seq: int) -> AsyncGenerator[Row, None]:
        """The messages before a number that belong to the exchange, newest first: {seq, role, content}.

        Read in batches, because the reader stops where its budget ends: no cursor and no deadline is left open in it.
        """
        while rows := await self._history_batch(conversation_id, before_seq):
            for row in rows:
                yield row
            before_seq = rows[-1]["seq"]

    async def _history_batch(self, conversation_id: ObjectId, before_seq: int) -> list[Row]:
        condition = {
            "conversation_id": conversation_id,
            "seq": {"$lt": before_seq},
            "status": {"$nin": ["failed", "superseded", "streaming"]},
            "kind": "message",
        }
        projection = {"_id": 0, "seq": 1, "role": 1, "content": 1}
        with pymongo.timeout(READ_SECONDS):
            cursor = self.collection.find(condition, projection, sort=[("seq", -1)], limit=HISTORY_BATCH)
            return await cursor.to_list()

    async def finish(self, id: ObjectId, outcome: dict[str, Any]) -> Row | None:
        """Put the outcome on a message that is still streaming; None when it is not."""
        change = {"$set": {**outcome, "updated_at": now()}, "$inc": {"version": 1}}
        with pymongo.timeout(WRITE_SECONDS):
            return await self.collection.find_one_and_update(
                {"_id": id, "status": "streaming"},
                change,
                projection=MESSAGES.projection,
                return_document=ReturnDocument.AFTER,
                session=current_session(),
            )

    async def hide(self, conversation_id: ObjectId, *, after_seq: int = 0) -> int:
        """Take a conversation's messages after a number out of lists and searches; answers how many were in them."""
        condition = {"conversation_id": conversation_id, "seq": {"$gt": after_seq}, "deleted_at": None}
        return await self._set_deleted_at(condition, now())

    async def show(self, conversation_id: ObjectId) -> None:
        """Put a conversation's messages back into lists and searches."""
        await self._set_deleted_at({"conversation_id": conversation_id, "deleted_at": {"$ne": None}}, None)

    async def _set_deleted_at(self, condition: dict[str, Any], instant: datetime | None) -> int:
        with pymongo.timeout(WRITE_SECONDS):
            result = await self.collection.update_many(
                condition, {"$set": {"deleted_at": instant}}, session=current_session()
            )
        return result.modified_count

    async def count(self, conversation_id: ObjectId) -> int:
        """How many messages of a conversation are stored."""
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.count_documents(
                {"conversation_id": conversation_id}, session=current_session()
            )

    async def purge(self, conversation_id: ObjectId) -> None:
        """Remove a conversation's messages for good."""
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.delete_many({"conversation_id": conversation_id}, session=current_session())
