"""The turns that one WebSocket follows, each told once, whoever wanted it."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from bson import ObjectId
from pymongo.errors import PyMongoError

from app.api.socket_outbox import Gone, Outbox
from app.kit.errors import Conflict, NotFound
from app.kit.logs import logger
from app.turns.events import Event
from app.turns.streams import TurnStreams

MAX_FOLLOWED = 100
_PAUSE_SECONDS = 0.5


class Following:
    """A turn whose events are sent. `held`: what is sent after the last of them."""

    def __init__(self, turn_id: ObjectId, conversation_id: ObjectId, after: int, *, is_wanted: bool) -> None:
        """`is_wanted`: by the client itself, not only as part of a subscription."""
        self.turn_id = turn_id
        self.conversation_id = conversation_id
        self.is_wanted = is_wanted
        self.held: str | None = None
        self.task: asyncio.Task[None] | None = None
        self._number = after
        self._has_end = False

    async def run(self, streams: TurnStreams, outbox: Outbox) -> None:
        """Send everything to the end. Raises Gone."""
        while not self._has_end:
            try:
                await self._send(streams, outbox)
            except NotFound:  # purged
                break
            except PyMongoError as error:
                logger.warning("turn_not_followed", turn_id=str(self.turn_id), error=type(error).__name__)
                await asyncio.sleep(_PAUSE_SECONDS)
        if self.held is not None:
            await outbox.send(self.held)

    async def _send(self, streams: TurnStreams, outbox: Outbox) -> None:
        async with aclosing(await streams.open(self.turn_id, after=self._number)) as events:
            while (batch := await events.next(None)) is not None:
                for event in batch:
                    await outbox.answer(self._message(event))
                    self._number = event.number
                    self._has_end = event.name not in {"turn.started", "delta"}

    def _message(self, event: Event) -> dict[str, Any]:
        return {
            "type": "turn",
            "conversation_id": self.conversation_id,
            "turn_id": self.turn_id,
            "number": event.number,
            "event": event.name,
            "data": event.data,
        }


class FollowedTurns:
    def __init__(self, streams: TurnStreams, outbox: Outbox, on_end: Callable[[ObjectId], None]) -> None:
        """`on_end`: called with each turn whose last event was sent."""
        self._on_end = on_end
        self._streams = streams
        self._outbox = outbox
        self._turns: dict[ObjectId, Following] = {}

    def __contains__(self, turn_id: object) -> bool:
        return turn_id in self._turns

    def check_room(self, turn_id: ObjectId) -> None:
        """Raises Conflict when this turn cannot be followed besides those that are."""
        if turn_id in self._turns:
            raise Conflict("This socket follows that turn already.", reason="followed")
        if len(self._turns) >= MAX_FOLLOWED:
            raise Conflict(f"A socket follows at most {MAX_FOLLOWED} turns.", reason="too_many_turns")

    def follow(self, turn_id: ObjectId, conversation_id: ObjectId, *, after: int = 0, is_wanted: bool = False) -> None:
        """Send the turn's events behind a number, unless they are being sent."""
        if turn_id in self._turns:
            return
        following = self._turns[turn_id] = Following(turn_id, conversation_id, after, is_wanted=is_wanted)
        following.task = asyncio.create_task(self._run(following))

    def hold(self, turn_id: ObjectId | None, text: str) -> bool:
        """Keep a text until the turn's last event is sent; False when none of its events are to come."""
        following = None if turn_id is None else self._turns.get(turn_id)
        if following is None:
            return False
        following.held = text
        return True

    async def unfollow(self, turn_id: ObjectId) -> None:
        """Send no more of a turn. Raises NotFound when it is not followed, and Gone."""
        following = self._turns.get(turn_id)
        if following is None:
            raise NotFound("This socket does not follow such a turn.")
        await self._stop(following)
        if following.held is not None:
            await self._outbox.send(following.held)

    async def leave(self, conversation_id: ObjectId) -> None:
        """Send no more of the turns that were followed as part of a subscription."""
        for each in list(self._turns.values()):
            if each.conversation_id == conversation_id and not each.is_wanted:
                await self._stop(each)

    def revoke(self, conversation_id: ObjectId) -> None:
        """Send no more of any turn of a conversation that is shared with them no more."""
        for each in self._turns.values():
            if each.conversation_id == conversation_id:
                each.held = None
                if each.task is not None:
                    each.task.cancel()

    async def aclose(self) -> None:
        for each in list(self._turns.values()):
            await self._stop(each)

    async def _stop(self, following: Following) -> None:
        if following.task is not None:
            following.task.cancel()
            await asyncio.wait({following.task})
        self._forget(following)

    async def _run(self, following: Following) -> None:
        try:
            await following.run(self._streams, self._outbox)
            self._on_end(following.turn_id)
        except Gone:
            return
        except Exception:  # noqa: BLE001 one turn's fault must not keep the others from the client
            logger.exception("turn_not_followed", turn_id=str(following.turn_id))
        finally:
            self._forget(following)

    def _forget(self, following: Following) -> None:
        if self._turns.get(following.turn_id) is following:
            del self._turns[following.turn_id]
