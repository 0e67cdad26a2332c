"""Rooms: who follows which conversation in this process, told by the process's change feed of what anybody writes.

What this process writes itself takes the same path as what others write: there is one order, and it is the database's.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from pymongo.errors import PyMongoError

from app.conversations.repository import ConversationRepository
from app.kit.changes import Change, ChangeFeed, Watch
from app.kit.clock import now
from app.kit.errors import Conflict
from app.kit.logs import logger
from app.kit.repository import Row, Scope
from app.rooms.repository import KEPT, PresenceRepository, TranscriptRepository
from app.rooms.room import Room
from app.rooms.subscription import CLOCKS_DIFFER, Participant, Subscription
from app.turns.repository import TurnRepository
from app.turns.workers import Membership

MAX_SOCKETS = 50
"""Connections that one user may have to this process."""
_LOOKED_UP_AT_ONCE = 500
_PAUSE_SECONDS = 0.5
_RENEWALS = 3
"""How often a presence is renewed before it would expire."""


@dataclass(frozen=True)
class Joined:
    """A new subscription; the conversation as it is stored, who is there, and the turns under way, the oldest first."""

    subscription: Subscription
    conversation: Row
    users: Sequence[dict[str, Any]]
    turn_ids: Sequence[ObjectId]


class Rooms:
    def __init__(
        self,
        conversations: ConversationRepository,
        turns: TurnRepository,
        transcripts: TranscriptRepository,
        presence: PresenceRepository,
        membership: Membership,
        feed: ChangeFeed,
    ) -> None:
        self._conversations = conversations
        self._turns = turns
        self._transcripts = transcripts
        self._presence = presence
        self._membership = membership
        self._rooms: dict[ObjectId, Room] = {}
        self._sockets: Counter[ObjectId] = Counter()
        self._changed = _Lookups(self._look_up)
        self._left: list[Row] = []
        self._heard_at = now()
        self._renewed_at = time.monotonic()
        self._is_stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        membership.when_lost(lambda _: self._in_background(self._present_again()))
        self._watch(feed)

    @contextmanager
    def admitting(self, user_id: ObjectId) -> Iterator[None]:
        """Count one of the user's connections. Raises Conflict when there are too many."""
        if self._sockets[user_id] >= MAX_SOCKETS:
            raise Conflict(f"You have {MAX_SOCKETS} open sockets here; close one first.", reason="too_many_sockets")
        self._sockets[user_id] += 1
        try:
            yield
        finally:
            self._sockets[user_id] -= 1
            if not self._sockets[user_id]:
                del self._sockets[user_id]

    async def join(
        self, scope: Scope, conversation_id: ObjectId, who: Participant, *, after_seq: int | None = None
    ) -> Joined:
        """Follow a conversation from behind a number, or from now on. Raises NotFound."""
        room = self._rooms.get(conversation_id)
        if room is None:
            room = self._rooms[conversation_id] = Room(conversation_id, self._transcripts, self._presence)
        subscription = Subscription(room, scope, who, self._transcripts)
        room.members.add(subscription)  # before anything is read, so that nothing falls in between
        try:
            return await self._begin(subscription, after_seq)
        except BaseException:
            self._abandon(subscription)
            raise

    async def leave(self, subscription: Subscription) -> None:
        """Follow no more."""
        self._abandon(subscription)
        if not self._is_stopping:  # then all of this process's go at once
            await self._take_away()

    async def tidy(self, dead: Sequence[str]) -> None:
        """Remove what dead processes have left, and what could not be removed when it should have been."""
        if dead and (count := await self._presence.remove_of(dead)):
            logger.info("presence_of_dead_removed", count=count)
        await self._take_away()
        if time.monotonic() - self._renewed_at > KEPT.total_seconds() / _RENEWALS:
            await self._presence.renew(self._membership.id)
            self._renewed_at = time.monotonic()

    def stop(self) -> None:
        """The server is about to stop: nobody is present here any more."""
        self._is_stopping = True
        self._in_background(self._presence_ends())

    async def aclose(self) -> None:
        self._is_stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._presence_ends()  # also of who came when the others went
        await self._changed.aclose()

    async def _begin(self, subscription: Subscription, after_seq: int | None) -> Joined:
        room = subscription.room
        conversation = await self._conversations.get(subscription.scope, room.id)
        room.begin(conversation["last_seq"])
        row = await self._row(subscription)
        subscription.is_present = True
        await self._presence.put([row])
        users = await room.present()
        turns = await self._turns.unfinished(room.id)
        subscription.begin(conversation["last_seq"], after_seq)
        ids = [turn["_id"] for turn in reversed(turns) if turn["answer_seq"] <= subscription.seen]
        return Joined(subscription, conversation, users, ids)

    async def _row(self, subscription: Subscription) -> Row:
        return {
            "_id": subscription.key,
            "user_id": subscription.who.user_id,
            "name": subscription.who.name,
            "worker": await self._membership.assure(),
        }

    def _abandon(self, subscription: Subscription) -> None:
        room = subscription.room
        room.members.discard(subscription)
        if subscription.is_present:
            self._left.append(subscription.key)
        if not room.members and self._rooms.get(room.id) is room:
            del self._rooms[room.id]

    async def _take_away(self) -> None:
        """Remove the presence of those who left; what fails is tried again with the next sweep."""
        left, self._left = self._left, []
        try:
            await self._presence.remove(left)
        except BaseException as error:
            self._left += left
            if not isinstance(error, PyMongoError):
                raise
            logger.warning("presence_not_removed", error=type(error).__name__)

    async def _presence_ends(self) -> None:
        try:
            await self._presence.remove_of([self._membership.id])
        except PyMongoError as error:
            logger.warning("presence_not_removed", error=type(error).__name__)  # it expires

    async def _present_again(self) -> None:
        """Say under the new name of this process who is here: others take away what is under the old one."""
        try:
            members = [each for room in self._rooms.values() for each in room.members if isinstance(each, Subscription)]
            await self._presence.put([await self._row(each) for each in members])
        except PyMongoError as error:
            logger.warning("presence_not_renewed", error=type(error).__name__)

    def _in_background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _watch(self, feed: ChangeFeed) -> None:
        changed = {"operationType": "update", "updateDescription.updatedFields.version": {"$exists": True}}
        deleted = {"operationType": "update", "updateDescription.updatedFields.status": "deleted"}
        came_or_went = {"operationType": {"$in": ["insert", "delete"]}}
        messages = {"$or": [{"operationType": "insert"}, changed]}
        conversations = {"$or": [{"operationType": "delete"}, deleted]}
        feed.watch(Watch("messages", messages, ("conversation_id", "seq"), self._on_message, self._resync))
        feed.watch(Watch("presence", came_or_went, (), self._on_presence, lambda: None))
        feed.watch(Watch("conversations", conversations, (), self._on_conversation, lambda: None))

    def _on_message(self, change: Change) -> None:
        self._heard_at = now()
        if change.operation == "update":
            if self._rooms:
                self._changed.add(change.key)
        elif (room := self._rooms.get(change.document["conversation_id"])) is not None:
            room.appended(change.document["seq"])

    def _on_presence(self, change: Change) -> None:
        if (room := self._rooms.get(change.key["conversation_id"])) is not None:
            room.presence_changed()

    def _on_conversation(self, change: Change) -> None:
        if (room := self._rooms.pop(change.key, None)) is not None:
            room.end()

    def _resync(self) -> None:
        for room in self._rooms.values():
            room.missed(self._heard_at - CLOCKS_DIFFER)

    async def _look_up(self, ids: Sequence[ObjectId]) -> None:
        """Tell the rooms how messages of theirs look by now."""
        for row in await self._transcripts.of_rooms(ids, list(self._rooms)):
            if (room := self._rooms.get(row["conversation_id"])) is not None:
                room.changed(row)


class _Lookups:
    """Ids that came with changes, looked up together: a change tells the message and not its conversation."""

    def __init__(self, look_up: Callable[[Sequence[ObjectId]], Awaitable[None]]) -> None:
        self._look_up = look_up
        self._ids: dict[ObjectId, None] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, id: ObjectId) -> None:
        self._ids[id] = None
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        try:
            while self._ids:
                ids = list(self._ids)[:_LOOKED_UP_AT_ONCE]
                for id in ids:
                    del self._ids[id]
                try:
                    await self._look_up(ids)
                except PyMongoError as error:
                    logger.warning("changes_not_read", error=type(error).__name__)
                    self._ids.update(dict.fromkeys(ids))
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            self._task = None
