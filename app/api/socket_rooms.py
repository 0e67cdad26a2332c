"""The conversations that one WebSocket follows."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from bson import ObjectId
from pymongo.errors import PyMongoError

from app.api.socket_outbox import Gone, Outbox
from app.api.socket_turns import FollowedTurns
from app.conversations.resource import CONVERSATIONS
from app.kit.errors import Conflict, NotFound
from app.kit.logs import logger
from app.kit.repository import Scope
from app.rooms.journal import Entry
from app.rooms.service import Joined, Rooms
from app.rooms.subscription import Participant, Subscription

MAX_SUBSCRIPTIONS = 100
_PAUSE_SECONDS = 0.5


class Subscriptions:
    def __init__(self, rooms: Rooms, outbox: Outbox, turns: FollowedTurns) -> None:
        self._rooms = rooms
        self._outbox = outbox
        self._turns = turns
        self._joined: dict[ObjectId, tuple[Subscription, asyncio.Task[None]]] = {}

    def __contains__(self, conversation_id: object) -> bool:
        return conversation_id in self._joined

    async def add(
        self,
        scope: Scope,
        conversation_id: ObjectId,
        who: Participant,
        after_seq: int | None,
        answer: Callable[[Joined], Awaitable[None]],
    ) -> None:
        """Follow a conversation; `answer` sends that it is, before anything of it is sent.

        Raises NotFound, Conflict, and Gone.
        """
        if conversation_id in self._joined:
            raise Conflict("This socket follows that conversation already.", reason="subscribed")
        if len(self._joined) >= MAX_SUBSCRIPTIONS:
            sentence = f"A socket follows at most {MAX_SUBSCRIPTIONS} conversations."
            raise Conflict(sentence, reason="too_many_subscriptions")
        joined = await self._rooms.join(scope, conversation_id, who, after_seq=after_seq)
        try:
            await answer(joined)
        except BaseException:
            await self._rooms.leave(joined.subscription)
            raise
        for turn_id in joined.turn_ids:
            self._turns.follow(turn_id, conversation_id)
        task = asyncio.create_task(self._run(joined.subscription))
        self._joined[conversation_id] = (joined.subscription, task)

    async def remove(self, conversation_id: ObjectId) -> None:
        """Follow a conversation no more. Raises NotFound when it is not followed."""
        if conversation_id not in self._joined:
            raise NotFound("This socket does not follow such a conversation.")
        subscription, task = self._joined.pop(conversation_id)
        task.cancel()
        await asyncio.wait({task})
        await self._turns.leave(conversation_id)
        await self._rooms.leave(subscription)

    def revoke(self, conversation_id: ObjectId) -> None:
        """Send no more of a conversation that is shared with them no more."""
        if conversation_id in self._joined:
            self._joined[conversation_id][0].revoke()

    async def aclose(self) -> None:
        for conversation_id in list(self._joined):
            await self.remove(conversation_id)

    async def _run(self, subscription: Subscription) -> None:
        try:
            await self._end(subscription, await self._forward(subscription))
        except Gone:
            return

    async def _forward(self, subscription: Subscription) -> str:
        """Send what happens until it ends; answers why it does."""
        try:
            await self._send_all(subscription)
        except Gone:
            raise
        except Exception:  # noqa: BLE001 one room's fault must not keep the others from the client
            logger.exception("room_not_followed", conversation_id=str(subscription.room.id))
            return "internal_error"
        return "revoked" if subscription.is_revoked else "deleted"

    async def _send_all(self, subscription: Subscription) -> None:
        while True:
            try:
                entries = await subscription.next()
            except PyMongoError as error:
                logger.warning("room_not_read", error=type(error).__name__)
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if entries is None:
                return
            for entry in entries:
                if subscription.is_revoked:
                    return
                await self._send(subscription, entry)

    async def _send(self, subscription: Subscription, entry: Entry) -> None:
        """A message; a turn's events follow the message that they make, and go before its final state."""
        if entry.kind == "message.updated" and self._turns.hold(entry.turn_id, entry.text):
            return
        await self._outbox.send(entry.text)
        if entry.turn_id is not None and subscription.begins_turn(entry):
            self._turns.follow(entry.turn_id, subscription.room.id)

    async def _end(self, subscription: Subscription, reason: str) -> None:
        id = subscription.room.id
        self._joined.pop(id, None)
        await self._rooms.leave(subscription)
        await self._outbox.answer({"type": "unsubscribed", "conversation_id": id, "reason": reason})


def subscribed(joined: Joined) -> dict[str, Any]:
    """The members of the answer to a subscription."""
    return {"conversation": CONVERSATIONS.render(joined.conversation), "presence": list(joined.users)}
