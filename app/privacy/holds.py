"""Legal holds: what must not be removed, neither by its owner nor by an admin, an erasure or a policy."""

from collections.abc import Mapping
from typing import Any

from bson import ObjectId

from app.audit.actor import current_actor
from app.conversations.repository import ConversationRepository
from app.kit.errors import Conflict, NotFound
from app.kit.etag import Versions
from app.kit.repository import Row, Scope
from app.kit.transactions import Transactions
from app.privacy.model import HeldResource, Hold
from app.privacy.repository import ErasureRepository, HoldRepository
from app.privacy.schemas import HoldCreate
from app.users.repository import UserRepository


def held(what: str) -> Conflict:
    """The refusal to remove what is held."""
    return Conflict(f"{what} is under a legal hold and has to stay until an admin lifts it.", reason="held")


class Holds:
    def __init__(
        self,
        rows: HoldRepository,
        users: UserRepository,
        conversations: ConversationRepository,
        erasures: ErasureRepository,
        transactions: Transactions,
    ) -> None:
        self.rows = rows
        self._users = users
        self._conversations = conversations
        self._erasures = erasures
        self._transactions = transactions

    async def place(self, new: HoldCreate) -> Row:
        """Hold a user with all conversations, or one conversation, deleted ones included.

        Raises NotFound, and Conflict when it is held already or being removed.
        """
        hold = Hold(**new.model_dump(), placed_by=current_actor().id)

        async def write() -> Row:
            if not await self._put(new.resource, new.target_id, None, hold.id):
                await self._refuse(new.resource, new.target_id)
            return await self.rows.insert(hold)

        return await self._transactions.run(write)

    async def lift(self, scope: Scope, id: ObjectId, versions: Versions) -> None:
        """End a hold. Raises NotFound, PreconditionFailed."""

        async def write() -> None:
            row = await self.rows.get(scope, id)
            await self.rows.delete(scope, id, versions=versions)
            await self._put(row["resource"], row["target_id"], id, None)

        await self._transactions.run(write)

    async def guard(self, conversation: Mapping[str, Any]) -> None:
        """Raises Conflict when the conversation {owner_id, hold_id} or its owner is held."""
        if conversation.get("hold_id") is not None:
            raise held("This conversation")
        if await self._users.hold_of(conversation["owner_id"]) is not None:
            raise held("The owner of this conversation")

    async def guard_user(self, id: ObjectId, *, with_conversations: bool) -> None:
        """Raises Conflict when the user is held, or one of the conversations that would go with them."""
        if await self._users.hold_of(id) is not None:
            raise held("This user")
        if with_conversations and (one := await self._conversations.held_of_owner(id)) is not None:
            raise held(f"The conversation {one} of this user")

    async def _put(
        self, resource: HeldResource, target_id: ObjectId, old: ObjectId | None, new: ObjectId | None
    ) -> bool:
        if resource == "conversations":
            return await self._conversations.put_hold(target_id, old, new)
        if new is not None and await self._erasures.running_of(target_id) is not None:
            return False
        return await self._users.put_hold(target_id, old, new)

    async def _refuse(self, resource: HeldResource, target_id: ObjectId) -> None:
        """Say why it cannot be held. Always raises."""
        rows = self._users if resource == "users" else self._conversations
        row, noun = await rows.hold_state(target_id), rows.resource.singular
        if row is None:
            raise NotFound(f"There is no such {noun}.")
        if row.get("hold_id") is not None:
            raise Conflict(f"This {noun} is under the hold {row['hold_id']} already.", reason="held")
        raise Conflict(f"This {noun} is being removed for good already.", reason="purged")
