"""Queries of conversations and messages."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pymongo
from bson import ObjectId
from pymongo import ReturnDocument

from app.conversations.content_index import sought_of, value_of
from app.conversations.model import UNMARKED, Conversation, Message, MessageRole
from app.conversations.resource import CONVERSATIONS, MESSAGES
from app.kit.clock import now
from app.kit.deadlines import EXPORT_PAGE_SECONDS, READ_SECONDS, WRITE_SECONDS
from app.kit.effort import Effort
from app.kit.listing import Listing
from app.kit.pages import Read, Run
from app.kit.paging import Cursors, Position, Sort
from app.kit.repository import Repository, Row, Scope
from app.kit.scanning import Find, SearchReader
from app.kit.transactions import beside, current_session, in_order
from app.kit.turnstile import Turnstile
from app.kit.windows import FIELD
from app.search.index import TextIndex
from app.search.reader import IndexedReader, Sources
from app.search.table import MARK

HISTORY_BATCH = 100
_FIRST_ID = ObjectId("0" * 24)
SHOWN_AT_ONCE = 5000
SUPERSEDED_AT_ONCE = 500
TRANSCRIPT_ORDER = Sort("seq", unique=True)
SPOKEN = (
    *("conversation_id", "seq", "kind", "role", "content", "tool_calls", "tool_call_id"),
    *("status", "turn_id", "provider", "finish_reason", "error", "feedback"),
)
"""What a transcript consists of, and how each message of it came about."""


class ConversationRepository(Repository[Conversation]):
    document = Conversation
    resource = CONVERSATIONS

    async def extend(
        self,
        scope: Scope,
        id: ObjectId,
        count: int,
        condition: Mapping[str, Any] = {},
        *,
        claim_for: ObjectId | None = None,
        queue_for: ObjectId | None = None,
    ) -> Row | None:
        """Allot the next `count` numbers; answers the row after it, or None when it is absent or does not meet the
        condition. `claim_for`: the turn that holds the conversation from now on, which no other may do; `queue_for`:
        the turn that waits behind the one which holds it."""
        state: dict[str, Any] = {}
        if claim_for is not None or queue_for is not None:
            state = {"active_turn_id": None if queue_for is None else {"$ne": None}}
        condition = scope.where({"_id": id}, CONVERSATIONS.live_filter, state, condition)
        instant = now()
        change: dict[str, Any] = {
            "$inc": {"last_seq": count, "message_count": count, "version": 1},
            "$set": {"last_message_at": instant, "updated_at": instant},
        }
        if claim_for is not None:
            change["$set"]["active_turn_id"] = claim_for
        if queue_for is not None:
            change["$push"] = {"waiting_turn_ids": queue_for}
        with pymongo.timeout(WRITE_SECONDS):
            return await self.collection.find_one_and_update(
                condition,
                change,
                projection={FIELD: 0},  # many, and nobody's but the index's
                return_document=ReturnDocument.AFTER,
                session=current_session(),
            )

    async def release(self, id: ObjectId, turn_id: ObjectId, tokens: Mapping[str, int]) -> ObjectId | None:
        """Add what the turn used, and let go of the conversation, which the turn that has waited longest holds then;
        answers that one. Runs in the transaction that ends the turn."""
        change = {
            "$set": {"active_turn_id": None, "updated_at": now()},
            "$inc": {"version": 1, **{f"tokens.{name}": number for name, number in tokens.items()}},
        }
        with pymongo.timeout(WRITE_SECONDS):
            row = await self.collection.find_one_and_update(
                {"_id": id, "active_turn_id": turn_id},
                change,
                projection={"waiting_turn_ids": 1},
                return_document=ReturnDocument.AFTER,
                session=current_session(),
            )
            if row is None or not row.get("waiting_turn_ids"):
                return None
            following: ObjectId = row["waiting_turn_ids"][0]
            await self.collection.update_one(
                {"_id": id},
                {"$set": {"active_turn_id": following}, "$pop": {"waiting_turn_ids": -1}},
                session=current_session(),
            )
        return following

    async def withdraw(self, id: ObjectId, turn_id: ObjectId) -> ObjectId | None:
        """Let a turn that waits leave; answers the one that holds the conversation in its place, if it held it."""
        with pymongo.timeout(WRITE_SECONDS):
            result = await self.collection.update_one(
                {"_id": id, "waiting_turn_ids": turn_id},
                {"$pull": {"waiting_turn_ids": turn_id}, "$inc": {"version": 1}},
                session=current_session(),
            )
        return None if result.matched_count else await self.release(id, turn_id, {})

    async def held_by(self, turn_ids: Sequence[ObjectId], ids: Sequence[ObjectId]) -> list[ObjectId]:
        """Which of the turns hold one of these conversations."""
        condition = {"_id": {"$in": list(ids)}, "active_turn_id": {"$in": list(turn_ids)}}
        with pymongo.timeout(READ_SECONDS):
            rows = await self.collection.find(condition, {"active_turn_id": 1}).to_list()
        return [row["active_turn_id"] for row in rows]

    async def name(self, id: ObjectId, title: str) -> bool:
        """Give a title to a conversation that has none; False when it has one."""
        stored = CONVERSATIONS.searched({"title": title, "updated_at": now()})
        with pymongo.timeout(WRITE_SECONDS):
            result = await self.collection.update_one(
                {"_id": id, "title": ""}, {"$set": stored, "$inc": {"version": 1}}
            )
        return result.modified_count == 1

    async def active_turn(self, scope: Scope, id: ObjectId) -> tuple[ObjectId, int] | None:
        """The turn that holds the conversation, and how many wait behind it; None when it is free."""
        with pymongo.timeout(READ_SECONDS):
            row = await self.collection.find_one(scope.where({"_id": id}), {"active_turn_id": 1, "waiting_turn_ids": 1})
        if row is None or row["active_turn_id"] is None:
            return None
        return row["active_turn_id"], len(row["waiting_turn_ids"])

    async def briefs(self, scope: Scope, ids: Sequence[ObjectId], condition: Mapping[str, Any]) -> list[Row]:
        """Title and tags of those of the conversations that are there and meet the condition."""
        selected = scope.where({"_id": {"$in": list(ids)}}, CONVERSATIONS.live_filter, condition)
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find(selected, {"title": 1, "tags": 1}).to_list()

    async def ids_of_owner(self, owner_id: ObjectId, *, limit: int) -> list[ObjectId]:
        """Ids of an owner's conversations, deleted ones included."""
        with pymongo.timeout(READ_SECONDS):
            rows = await self.collection.find(
                {"owner_id": owner_id}, {"_id": 1}, limit=limit, session=current_session()
            ).to_list()
        return [row["_id"] for row in rows]

    async def held_of_owner(self, owner_id: ObjectId) -> ObjectId | None:
        """A conversation of the owner's that is under a hold, if there is one."""
        condition = {"owner_id": owner_id, "hold_id": {"$gte": _FIRST_ID}}
        with pymongo.timeout(READ_SECONDS):
            row = await self.collection.find_one(condition, {"_id": 1}, session=current_session())
        return None if row is None else row["_id"]

    async def hold_state(self, id: ObjectId) -> Row | None:
        """Whether the conversation is there, whatever its status, and {hold_id}."""
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one({"_id": id}, {"hold_id": 1}, session=current_session())

    async def put_hold(self, id: ObjectId, old: ObjectId | None, new: ObjectId | None) -> bool:
        """Put the conversation under a hold in the place of another one; False when that is not what it is under, or
        it is being removed. Counts as a change, so that who has read it before does not remove it."""
        with pymongo.timeout(WRITE_SECONDS):
            result = await self.collection.update_one(
                {"_id": id, "hold_id": old, "purging_at": None},
                {"$set": {"hold_id": new}, "$inc": {"version": 1}},
                session=current_session(),
            )
        return result.matched_count > 0

    async def insert_many(self, conversations: Sequence[Conversation]) -> None:
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.insert_many(
                [conversation.to_row() for conversation in conversations], session=current_session()
            )


class DeletedConversationRepository(Repository[Conversation]):
    """Conversations that were deleted: all that is left to do is to restore or to purge them."""

    document = Conversation
    resource = replace(CONVERSATIONS, singular="deleted conversation", live_filter={"status": "deleted"})

    async def is_being_purged(self, id: ObjectId) -> bool:
        """Whether it is being removed for good."""
        with pymongo.timeout(READ_SECONDS):
            row = await self.collection.find_one({"_id": id}, {"purging_at": 1}, session=current_session())
        return row is not None and row.get("purging_at") is not None


class MessageRepository(Repository[Message]):
    document = Message
    resource = MESSAGES

    def __init__(self, cursors: Cursors, turnstile: Turnstile | None = None, index: TextIndex | None = None) -> None:
        """`index`: of the messages' content; without it searches read the messages."""
        super().__init__(cursors, turnstile)
        self._index = index

    def _reader(self, scope: Scope, listing: Listing, filters: Sequence[Mapping[str, Any]], effort: Effort) -> Read:
        def few(name: str | None, *conditions: Mapping[str, Any]) -> SearchReader:
            """Reads all rows of an index, where there are so few that the answer can be expected at once."""
            find = self._finder(scope, listing, hint=name)
            return SearchReader(find, [*filters, *conditions], listing.searches, effort, self.pace, is_indexed=True)

        sought = sought_of(scope, listing, filters)
        if self._index is None or sought is None or not self._index.lookup.tells(sought):
            is_of_one = listing.is_search and value_of("conversation_id", filters) is not None
            return few(None) if is_of_one else super()._reader(scope, listing, filters, effort)
        by_id = self._finder(scope, listing, hint="_id_")
        sources = Sources(by_id, self._beside(by_id), self._finder(scope, listing), few(UNMARKED, {MARK: None}))
        conditions = [*filters, *(search.condition for search in listing.searches)]
        indexed = IndexedReader(self._index.lookup, sought, sources, conditions, effort, self.pace)

        async def read(sort: Sort, start: Position | None, size: int) -> Run:
            async with in_order(self.collection.database.client):
                return await indexed(sort, start, size)

        return read

    def _beside(self, find: Find) -> Find:
        """The same while other things are read."""

        async def read(*arguments: Any, **options: Any) -> Run:
            async with beside(self.collection.database.client):
                return await find(*arguments, **options)

        return read

    def matches(self, scope: Scope, listing: Listing, effort: Effort) -> Read:
        """Reads the messages that a listing is about in its order."""
        return self._reader(scope, listing, listing.conditions, effort)

    async def insert_many(self, messages: Sequence[Message]) -> list[Row]:
        rows = [message.to_row() for message in messages]
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.insert_many(rows, session=current_session())
        return rows

    async def history(self, conversation_id: ObjectId, *, before_seq: int) -> AsyncGenerator[Row, None]:
        """The messages before a number that belong to the exchange, newest first: {seq, role, content, tool_calls,
        tool_call_id}.

        Read in batches, because the reader stops where its budget ends: no cursor and no deadline is left open in it.
        """
        while before_seq > 1:
            rows = await self._history_batch(conversation_id, before_seq)
            for row in rows:
                yield row
            before_seq = rows[-1]["seq"] if len(rows) == HISTORY_BATCH else 1

    async def _history_batch(self, conversation_id: ObjectId, before_seq: int) -> list[Row]:
        condition = {
            "conversation_id": conversation_id,
            "seq": {"$lt": before_seq},
            "status": {"$nin": ["failed", "superseded", "streaming"]},
            "kind": "message",
        }
        projection = {"_id": 0, "seq": 1, "role": 1, "content": 1, "tool_calls": 1, "tool_call_id": 1}
        with pymongo.timeout(READ_SECONDS):
            cursor = self.collection.find(condition, projection, sort=[("seq", -1)], limit=HISTORY_BATCH)
            return await cursor.to_list()

    async def transcripts(self, scope: Scope, ids: Sequence[ObjectId], *, limit: int) -> Run:
        """The first messages of these conversations by number, up to `limit` and one reply of the database, as rows
        with what a transcript consists of. `is_last` says whether these are all."""
        condition = scope.where({"conversation_id": {"$in": list(ids)}}, MESSAGES.live_filter)
        with pymongo.timeout(EXPORT_PAGE_SECONDS):
            return await self._read(
                condition, MESSAGES.project(SPOKEN), TRANSCRIPT_ORDER, limit, session=current_session(), hint="seq_v1"
            )

    async def finish(self, id: ObjectId, outcome: dict[str, Any]) -> Row | None:
        """Put the outcome on a message that is still streaming; None when it is not."""
        change = {"$set": {**MESSAGES.searched(outcome), "updated_at": now()}, "$inc": {"version": 1}}
        with pymongo.timeout(WRITE_SECONDS):
            return await self.collection.find_one_and_update(
                {"_id": id, "status": "streaming"},
                change,
                projection=MESSAGES.projection,
                return_document=ReturnDocument.AFTER,
                session=current_session(),
            )

    async def find_all(self, ids: Sequence[ObjectId]) -> list[Row]:
        """The messages with these ids, in any order."""
        with pymongo.timeout(READ_SECONDS):
            cursor = self.collection.find({"_id": {"$in": list(ids)}}, MESSAGES.projection, session=current_session())
            return await cursor.to_list()

    async def last(self, conversation_id: ObjectId, roles: Sequence[MessageRole], *, before_seq: int) -> Row | None:
        """The newest message before a number that has one of the roles and was not superseded."""
        condition = {
            "conversation_id": conversation_id,
            "seq": {"$lt": before_seq},
            "status": {"$ne": "superseded"},
            "role": {"$in": list(roles)},
        }
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one(condition, MESSAGES.projection, sort=[("seq", -1)])

    async def supersede(self, conversation_id: ObjectId, *, from_seq: int, to_seq: int) -> None:
        """Take these messages out of the exchange; they stay in the transcript as `superseded`. Done again it changes
        nothing. In a transaction for few of them: each takes 1.5 ms there, and a twentieth of that elsewhere."""
        change = {"$set": {"status": "superseded", "updated_at": now()}, "$inc": {"version": 1}}
        for first in range(from_seq, to_seq + 1, SUPERSEDED_AT_ONCE):
            last = min(to_seq, first + SUPERSEDED_AT_ONCE - 1)
            condition = {
                "conversation_id": conversation_id,
                "seq": {"$gte": first, "$lte": last},
                "status": {"$ne": "superseded"},
            }
            with pymongo.timeout(WRITE_SECONDS):
                await self.collection.update_many(condition, change, session=current_session())

    async def hide(self, conversation_id: ObjectId, *, after_seq: int = 0) -> int:
        """Take a conversation's messages after a number out of lists and searches; answers how many were in them.

        Their time of change stays: to move 5,000 messages in its index takes longer than a transaction lives (measured:
        3 ms each, because the database looks every index of theirs up again).
        """
        condition = {"conversation_id": conversation_id, "seq": {"$gt": after_seq}, "deleted_at": None}
        with pymongo.timeout(WRITE_SECONDS):
            result = await self.collection.update_many(
                condition, {"$set": {"deleted_at": now()}}, session=current_session()
            )
        return result.modified_count

    async def show(self, conversation_id: ObjectId) -> None:
        """Put a conversation's messages back into lists and searches, as if they had changed. In no transaction."""
        hidden = {"conversation_id": conversation_id, "deleted_at": {"$ne": None}}
        change = {"$set": {"deleted_at": None, "updated_at": now()}}
        while True:
            with pymongo.timeout(WRITE_SECONDS):
                rows = await self.collection.find(hidden, {"seq": 1}, sort=[("seq", 1)], limit=SHOWN_AT_ONCE).to_list()
                if not rows:
                    return
                await self.collection.update_many({**hidden, "seq": {"$lte": rows[-1]["seq"]}}, change)

    async def count(self, conversation_id: ObjectId) -> int:
        """How many messages of a conversation are stored."""
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.count_documents(
                {"conversation_id": conversation_id}, session=current_session()
            )

    async def purge(self, *conversation_ids: ObjectId) -> None:
        """Remove the messages of conversations for good."""
        condition = {"conversation_id": {"$in": list(conversation_ids)}}
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.delete_many(condition, session=current_session())
        if self._index is not None:
            await self._index.forget(*conversation_ids)
