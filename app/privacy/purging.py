"""Removing a conversation for good, with everything that belongs to it."""

from collections.abc import Awaitable, Callable, Mapping

from bson import ObjectId

from app.conversations.model import Message
from app.conversations.share_model import ShareLink
from app.kit.etag import Versions
from app.kit.paging import Cursors
from app.kit.repository import EVERYTHING, Scope
from app.privacy.parts import Parts
from app.privacy.repository import PersonalRows
from app.turns.model import Turn
from app.webhooks.model import Delivery, Hook

OnStart = Callable[[Mapping[str, int]], Awaitable[None]]
"""Is told, in the transaction that begins a removal, how many rows of each collection go."""
_COUNTED = (Message, Turn, Delivery, Hook, ShareLink)


class Purging:
    def __init__(self, parts: Parts, cursors: Cursors) -> None:
        self._parts = parts
        self._counted = [PersonalRows(cursors, document) for document in _COUNTED]

    async def purge(
        self, scope: Scope, id: ObjectId, versions: Versions = None, *, on_start: OnStart | None = None
    ) -> None:
        """Remove a conversation with its messages and turns for good. Cut short, it can be done again, and nothing else
        can be done with it. Raises NotFound, PreconditionFailed, and Conflict for what is held."""

        async def begin() -> None:
            if on_start is not None:
                await on_start(await self._parts_of(id))

        await self._parts.conversations.condemn(scope, id, versions, on_start=begin)
        await self._parts.turns.cancel_all(EVERYTHING, id)
        async with self._parts.conversations.alone(id):
            await self._parts.turns.purge(id)
            await self._parts.conversations.purge(scope, id)
            await self._parts.webhooks.forget_conversation(id)
            await self._parts.links.rows.delete_of({"conversation_id": id})

    async def _parts_of(self, id: ObjectId) -> Mapping[str, int]:
        counts = {each.collection.name: await each.count_of({"conversation_id": id}) for each in self._counted}
        return {"conversations": 1, **counts}
