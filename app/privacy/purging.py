"""Removing a conversation for good, with everything that belongs to it."""

from collections.abc import Awaitable, Callable, Mapping

from bson import ObjectId

from app.conversations.model import Message
from app.conversations.service import ConversationService
from app.kit.etag import Versions
from app.kit.paging import Cursors
from app.kit.repository import EVERYTHING, Scope
from app.privacy.repository import PersonalRows
from app.turns.model import Turn
from app.turns.service import TurnService
from app.webhooks.model import Delivery, Hook
from app.webhooks.service import WebhookService

OnStart = Callable[[Mapping[str, int]], Awaitable[None]]
"""Is told, in the transaction that begins a removal, how many rows of each collection go."""
_PARTS = (Message, Turn, Delivery, Hook)


class Purging:
    def __init__(
        self, conversations: ConversationService, turns: TurnService, webhooks: WebhookService, cursors: Cursors
    ) -> None:
        self._conversations = conversations
        self._turns = turns
        self._webhooks = webhooks
        self._parts = [PersonalRows(cursors, document) for document in _PARTS]

    async def purge(
        self, scope: Scope, id: ObjectId, versions: Versions = None, *, on_start: OnStart | None = None
    ) -> None:
        """Remove a conversation with its messages and turns for good. Cut short, it can be done again, and nothing else
        can be done with it. Raises NotFound, PreconditionFailed, and Conflict for what is held."""

        async def begin() -> None:
            if on_start is not None:
                await on_start(await self._parts_of(id))

        await self._conversations.condemn(scope, id, versions, on_start=begin)
        await self._turns.cancel_all(EVERYTHING, id)
        async with self._conversations.alone(id):
            await self._turns.purge(id)
            await self._conversations.purge(scope, id)
            await self._webhooks.forget_conversation(id)

    async def _parts_of(self, id: ObjectId) -> Mapping[str, int]:
        counts = {each.collection.name: await each.count_of({"conversation_id": id}) for each in self._parts}
        return {"conversations": 1, **counts}
