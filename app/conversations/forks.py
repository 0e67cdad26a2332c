"""A new conversation that begins like another one.

Its messages are copies, made by the database within itself: a fork that shared them would change with its origin and
be lost with it. They are filled into a draft, a deleted conversation with hidden messages, which the last step makes an
active one; cut short before, it can only be purged. What was spent on the originals (usage, cost, turn) and what people
thought of them (feedback) stays with these, or it would be counted twice.
"""

from typing import Any

import pymongo
from bson import ObjectId

from app.conversations.model import Conversation, Message, Parent, Transition
from app.conversations.repository import ConversationRepository, MessageRepository
from app.conversations.schemas import ForkCreate
from app.kit.clock import now
from app.kit.deadlines import WRITE_SECONDS
from app.kit.errors import Conflict, Invalid, NotFound
from app.kit.normal_form import form_path
from app.kit.repository import EVERYTHING, Repository, Row, Scope

_COPIED = (
    *("seq", "kind", "role", "content", "parts", "tool_calls", "tool_call_id", "reasoning"),
    *map(form_path, Message.normalized),
    *("model", "provider", "finish_reason", "error", "metadata", "created_at"),
)
_OF_THE_ORIGINAL = ("turn_id", "usage", "cost", "latency_ms", "feedback")
_INHERITED = ("system_prompt", "model", "tags", "metadata")


class Forks:
    def __init__(
        self, rows: ConversationRepository, drafts: Repository[Conversation], messages: MessageRepository
    ) -> None:
        """`drafts`: conversations that are deleted."""
        self._rows = rows
        self._drafts = drafts
        self._messages = messages

    async def prepare(self, scope: Scope, id: ObjectId, new: ForkCreate, owner_id: ObjectId) -> Row:
        """A draft of the fork, with all of its messages. Raises NotFound, Invalid."""
        origin = await self._rows.get(scope, id)
        if new.seq > origin["last_seq"]:
            raise Invalid.field("body.seq", f"the last message is {origin['last_seq']}")
        last = await self._messages.find(EVERYTHING, {"conversation_id": id, "seq": new.seq})
        draft = Conversation(
            **{name: origin[name] for name in _INHERITED},
            owner_id=owner_id,
            title=origin["title"] if new.title is None else new.title,
            status="deleted",
            last_seq=new.seq,
            message_count=new.seq,
            last_message_at=last and last["created_at"],
            parent=Parent(conversation_id=id, seq=new.seq),
        )
        row = await self._drafts.insert(draft)
        await self._copy(id, new.seq, draft)
        return row

    async def publish(self, draft: Row) -> Row:
        """Make the draft an active conversation. Raises Conflict when its origin was purged meanwhile."""
        id = draft["_id"]
        if await self._messages.count(id) != draft["last_seq"]:
            raise Conflict("The conversation was removed while it was forked.", reason="purged")
        await self._messages.show(id)
        change = {"status": "active", **Transition.stored("created", draft["owner_id"])}
        return await self._drafts.update(EVERYTHING, id, {"$set": change})

    async def discard(self, draft: Row) -> None:
        """Remove a draft that is not wanted, unless it was published after all."""
        try:
            await self._drafts.delete(Scope(self._drafts.resource.live_filter), draft["_id"])
        except NotFound:
            return
        await self._messages.purge(draft["_id"])

    async def _copy(self, id: ObjectId, last_seq: int, draft: Conversation) -> None:
        instant = now()
        own: dict[str, Any] = {
            "conversation_id": draft.id,
            "owner_id": draft.owner_id,
            "status": {"$cond": [{"$eq": ["$status", "streaming"]}, "interrupted", "$status"]},
            "version": {"$literal": 1},
            "updated_at": instant,
            "deleted_at": instant,
            **{name: {"$literal": None} for name in _OF_THE_ORIGINAL},
        }
        pipeline: list[dict[str, Any]] = [
            {"$match": {"conversation_id": id, "seq": {"$lte": last_seq}}},
            {"$project": {"_id": 0, **dict.fromkeys(_COPIED, 1), **own}},
            {
                "$merge": {
                    "into": self._messages.collection.name,
                    "on": ["conversation_id", "seq"],
                    "whenMatched": "keepExisting",
                    "whenNotMatched": "insert",
                }
            },
        ]
        with pymongo.timeout(WRITE_SECONDS):
            await (await self._messages.collection.aggregate(pipeline)).close()
