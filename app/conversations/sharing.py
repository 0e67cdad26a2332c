"""Sharing a conversation with other users: who may read it, who may go on with it, and how what belongs to it is
reached through it."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

import pymongo
from bson import ObjectId

from app.audit.trail import record
from app.conversations.repository import ConversationRepository
from app.conversations.resource import CONVERSATIONS
from app.conversations.revocations import Revocations
from app.conversations.share_model import Revocation
from app.kit.clock import now
from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.kit.errors import Conflict, NotFound
from app.kit.repository import EVERYTHING, Repository, Row, Scope
from app.kit.transactions import Transactions, current_session

MAX_SHARES = 100
"""Users that one conversation is shared with."""
Access = Literal["read", "write"]
T = TypeVar("T")


class ShareRepository(ConversationRepository):
    """Conversations with the users they are shared with, which no list, file or search shows."""

    async def shares(self, scope: Scope, id: ObjectId) -> dict[ObjectId, Access]:
        """Who may read or write it, in the order they came. Raises NotFound, Forbidden."""
        await self.get(scope, id, fields=("id",))
        with pymongo.timeout(READ_SECONDS):
            row = await self.collection.find_one(scope.where({"_id": id}), {"readers": 1, "writers": 1})
        writers = (row or {}).get("writers", ())
        return {each: "write" if each in writers else "read" for each in (row or {}).get("readers", ())}

    async def share(self, scope: Scope, id: ObjectId, user_id: ObjectId, access: Access) -> bool:
        """False when it is shared with as many as may be."""
        has_room = {"$or": [{"readers": user_id}, {f"readers.{MAX_SHARES - 1}": {"$exists": False}}]}
        change: dict[str, Any] = {"$addToSet": {"readers": user_id}}
        if access == "write":
            change["$addToSet"]["writers"] = user_id
        else:
            change["$pull"] = {"writers": user_id}
        with pymongo.timeout(WRITE_SECONDS):
            condition = {"$and": [scope.where({"_id": id}, CONVERSATIONS.live_filter), has_room]}
            return (await self.collection.update_one(condition, change, session=current_session())).matched_count == 1

    async def unshare(self, scope: Scope, id: ObjectId, user_id: ObjectId) -> bool:
        """False when it was not shared with them."""
        with pymongo.timeout(WRITE_SECONDS):
            result = await self.collection.update_one(
                scope.where({"_id": id, "readers": user_id}),
                {"$pull": {"readers": user_id, "writers": user_id}},
                session=current_session(),
            )
        return result.matched_count == 1

    async def tell_revoked(self, id: ObjectId, user_id: ObjectId) -> None:
        row = {"conversation_id": id, "user_id": user_id, "at": now()}
        with pymongo.timeout(WRITE_SECONDS):
            await Revocation.get_pymongo_collection().insert_one(row, session=current_session())

    async def forget_user(self, user_id: ObjectId) -> None:
        """Take a removed user from everything that was shared with them."""
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.update_many(
                {"readers": user_id}, {"$pull": {"readers": user_id, "writers": user_id}}, session=current_session()
            )


class Sharing:
    def __init__(self, rows: ShareRepository, transactions: Transactions, revocations: Revocations) -> None:
        self.rows = rows
        self.revocations = revocations
        self._transactions = transactions

    async def share(self, scope: Scope, id: ObjectId, user_id: ObjectId, access: Access) -> bool:
        """Share it, or for something else than before; answers whether it is new. Raises NotFound, Forbidden,
        Conflict."""
        row = await self.rows.get(scope, id, fields=("owner_id",))
        if row["owner_id"] == user_id:
            raise Conflict("This user owns the conversation.", reason="owner")
        earlier = await self.rows.shares(scope, id)

        async def write() -> None:
            if not await self.rows.share(scope, id, user_id, access):
                raise Conflict(f"It is shared with {MAX_SHARES} users already, the most.", reason="too_many_shares")
            details = {"with": str(user_id), "access": access}
            await record("conversation.shared", "conversations", id, subject_id=row["owner_id"], details=details)

        await self._transactions.run(write)
        return user_id not in earlier

    async def revoke(self, scope: Scope, id: ObjectId, user_id: ObjectId) -> None:
        """Share it with the user no more; what they follow of it ends, on every server. Raises NotFound, Forbidden."""
        row = await self.rows.get(scope, id, fields=("owner_id",))

        async def write() -> None:
            if not await self.rows.unshare(scope, id, user_id):
                raise NotFound("The conversation is not shared with this user.")
            await self.rows.tell_revoked(id, user_id)
            details = {"with": str(user_id)}
            await record("conversation.unshared", "conversations", id, subject_id=row["owner_id"], details=details)

        await self._transactions.run(write)

    async def reach(
        self,
        rows: Repository[Any],
        id: ObjectId,
        own: Scope,
        conversations: Scope,
        use: Callable[[Scope], Awaitable[T]],
    ) -> T:
        """Do something with a row that belongs to a conversation: one's own, or else one whose conversation may be.

        `own`: the scope of such rows, `conversations` that of what is shared. Owners pay nothing for it. Raises what
        `use` raises, and Forbidden when the conversation may be seen but not for this.
        """
        try:
            return await use(own)
        except NotFound:
            row = await rows.find(EVERYTHING, {"_id": id, **rows.resource.live_filter}, fields=("conversation_id",))
            if row is None or not await self._is_reached(conversations, row):
                raise
        return await use(Scope({"conversation_id": row["conversation_id"]}, asker=own.asker))

    async def _is_reached(self, conversations: Scope, row: Row) -> bool:
        try:
            await self.rows.get(conversations, row["conversation_id"], fields=("id",))
        except NotFound:
            return False
        return True
