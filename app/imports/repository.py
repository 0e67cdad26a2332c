"""Queries of imports, and of what they have added."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import pymongo
from bson import ObjectId

from app.audit.audited import AuditedRepository
from app.conversations.model import Conversation, Message, Transition
from app.conversations.resource import CONVERSATIONS, MESSAGES
from app.imports.model import ImportJob
from app.imports.resource import IMPORTS
from app.jobs.repository import JobRepository
from app.kit.deadlines import EXPORT_PAGE_SECONDS, READ_SECONDS, WRITE_SECONDS
from app.kit.repository import Repository, Row
from app.kit.transactions import current_session

UNTOUCHED = 1
"""The version of a conversation or message that nobody has changed; drafts, and what is being undone, have 0."""


class ImportRepository(AuditedRepository[ImportJob], JobRepository[ImportJob]):
    document = ImportJob
    resource = IMPORTS
    shown = ("action",)

    async def note_undone(self, id: ObjectId, undone: Mapping[str, Any]) -> None:
        """Say what an undo has done to an import, if that is still there."""
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.update_one({"_id": id}, {"$set": {"undone": dict(undone)}, "$inc": {"version": 1}})


class ImportedConversations(Repository[Conversation]):
    """Conversations whatever their status."""

    document = Conversation
    resource = replace(CONVERSATIONS, singular="imported conversation", live_filter={})

    async def known_sources(self, owner_id: ObjectId, source_ids: Collection[str]) -> set[str]:
        """Which of the source ids this owner has already."""
        rows = await self._find({"owner_id": owner_id, "source_id": {"$in": list(source_ids)}}, {"source_id": 1})
        return {row["source_id"] for row in rows}

    async def owners(self, ids: Collection[ObjectId]) -> dict[ObjectId, ObjectId]:
        """Those of the ids that are there, with their owners."""
        rows = await self._find({"_id": {"$in": list(ids)}}, {"owner_id": 1})
        return {row["_id"]: row["owner_id"] for row in rows}

    async def added_by(self, import_id: ObjectId, after: ObjectId | None = None, *, limit: int = 0) -> list[Row]:
        """Conversations that an import has added, by id: their titles, versions, owners and numbers of
        messages."""
        condition: dict[str, Any] = {"import_id": import_id}
        if after is not None:
            condition["_id"] = {"$gt": after}
        fields = {"title": 1, "version": 1, "message_count": 1, "owner_id": 1}
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find(condition, fields, sort=[("_id", 1)], limit=limit).to_list()

    async def count_added(self, import_id: ObjectId) -> tuple[int, int]:
        """How many conversations an import has added so far, and how many messages these had."""
        stages: list[dict[str, Any]] = [
            {"$match": {"import_id": import_id, "version": {"$gt": 0}}},
            {"$group": {"_id": None, "conversations": {"$sum": 1}, "messages": {"$sum": "$message_count"}}},
        ]
        with pymongo.timeout(EXPORT_PAGE_SECONDS):
            rows = await (await self.collection.aggregate(stages)).to_list()
        return (rows[0]["conversations"], rows[0]["messages"]) if rows else (0, 0)

    async def untouched(self, ids: Collection[ObjectId]) -> set[ObjectId]:
        """Those that nobody has changed."""
        rows = await self._find({"_id": {"$in": list(ids)}, "version": {"$lte": UNTOUCHED}}, {"_id": 1})
        return {row["_id"] for row in rows}

    async def remove_untouched(self, ids: Collection[ObjectId]) -> None:
        """Remove those that nobody has changed and that were withdrawn."""
        condition = {"_id": {"$in": list(ids)}, "version": 0}
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.delete_many(condition, session=current_session())

    async def withdraw(self, owner_id: ObjectId, ids: Collection[ObjectId]) -> int:
        """Take conversations that nobody has changed out of everybody's sight, to be removed; answers how many. Who
        follows what becomes of conversations is told of it here."""
        condition = {"_id": {"$in": list(ids)}, "version": {"$lte": UNTOUCHED}}
        change = {"status": "deleted", "version": 0, **Transition.stored("deleted", owner_id)}
        with pymongo.timeout(WRITE_SECONDS):
            result = await self.collection.update_many(condition, {"$set": change}, session=current_session())
        return result.matched_count

    async def _find(self, condition: Mapping[str, Any], fields: Mapping[str, int]) -> list[Row]:
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find(condition, fields, session=current_session()).to_list()


class ImportedMessages(Repository[Message]):
    """Messages of all conversations, hidden ones included."""

    document = Message
    resource = replace(MESSAGES, live_filter={})

    async def existing(self, ids: Collection[ObjectId]) -> set[ObjectId]:
        with pymongo.timeout(READ_SECONDS):
            rows = await self.collection.find(
                {"_id": {"$in": list(ids)}}, {"_id": 1}, session=current_session()
            ).to_list()
        return {row["_id"] for row in rows}

    async def touched(self, conversation_ids: Collection[ObjectId]) -> set[ObjectId]:
        """Those of the conversations with a message that somebody has changed."""
        condition = {"conversation_id": {"$in": list(conversation_ids)}, "version": {"$ne": UNTOUCHED}}
        with pymongo.timeout(EXPORT_PAGE_SECONDS):
            rows = await self.collection.find(condition, {"conversation_id": 1}, session=current_session()).to_list()
        return {row["conversation_id"] for row in rows}
