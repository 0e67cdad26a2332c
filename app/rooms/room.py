"""One conversation that somebody follows in this process: what happens in it is read once, for all who follow."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from bson import ObjectId
from pymongo.errors import PyMongoError

from app.kit.logs import logger
from app.kit.repository import EVERYTHING, Row
from app.kit.schemas import INT64_MAX
from app.rooms.journal import Journal, message_entry, presence_entry
from app.rooms.repository import PresenceRepository, TranscriptRepository

_PAUSE_SECONDS = 0.5


class Member(Protocol):
    """Who follows a room: how far in its journal, and how to tell that there is more."""

    position: int

    def wake(self) -> None: ...


class Room:
    """`fetched`: the number up to which messages are in the journal, or were before anybody followed."""

    def __init__(self, id: ObjectId, transcripts: TranscriptRepository, presence: PresenceRepository) -> None:
        self.id = id
        self.journal = Journal()
        self.members: set[Member] = set()
        self.users: list[dict[str, Any]] = []
        self.fetched: int | None = None
        self.is_gone = False
        self._transcripts = transcripts
        self._presence = presence
        self._counting = asyncio.Lock()
        self._asked = self._counted = 0
        self._appended = 0
        self._changed: dict[ObjectId, Row] = {}
        self._missed_since: datetime | None = None
        self._is_presence_stale = False
        self._is_stale = False
        self._task: asyncio.Task[None] | None = None

    @property
    def known(self) -> int:
        """The number up to which messages are known to be stored, by a majority."""
        return max(self._appended, self.fetched or 0)

    def begin(self, last_seq: int) -> None:
        """Follow from this number on, unless the room does from another one already."""
        if self.fetched is None:
            self.fetched = last_seq
            if self._appended > last_seq:
                self._poke()

    def appended(self, seq: int) -> None:
        """A message with this number is stored."""
        if seq > self._appended:
            self._appended = seq
            self._poke()

    def changed(self, row: Row) -> None:
        """A message looks like this since it has changed."""
        self._changed[row["_id"]] = row
        self._poke()

    def presence_changed(self) -> None:
        """Somebody came or went."""
        self._is_presence_stale = True
        self._poke()

    def missed(self, since: datetime) -> None:
        """Anything may have happened since then."""
        self._missed_since = min(since, self._missed_since or since)
        self._is_presence_stale = True
        self._poke()

    def end(self) -> None:
        """The conversation is no more."""
        self.is_gone = True
        self._wake()

    async def present(self) -> list[dict[str, Any]]:
        """Who is there now; the members are told when it is somebody else than before."""
        self._asked += 1
        asked = self._asked
        async with self._counting:
            if self._counted < asked:  # those who ask while others are counted are answered together
                counted, users = self._asked, await self._presence.users(self.id)
                self._counted = counted
                self._tell(users)
        return self.users

    def _tell(self, users: list[dict[str, Any]]) -> None:
        if users != self.users:
            self.users = users
            self.journal.append(presence_entry(self.id, users))
            self._wake()

    def tidy(self) -> None:
        """Forget what every member has read."""
        end = self.journal.end
        if all(member.position >= end for member in self.members):
            self.journal.forget()

    def _poke(self) -> None:
        self._is_stale = True
        if self._task is None and self.fetched is not None:
            self._task = asyncio.create_task(self._keep_up())

    def _wake(self) -> None:
        for member in self.members:
            member.wake()

    async def _keep_up(self) -> None:
        try:
            while self._is_stale and self.members and not self.is_gone:
                self._is_stale = False
                try:
                    await self._catch_up()
                except PyMongoError as error:
                    logger.warning("room_not_followed", conversation_id=str(self.id), error=type(error).__name__)
                    await asyncio.sleep(_PAUSE_SECONDS)
                    self._is_stale = True
                except Exception:  # noqa: BLE001 the next change is another chance
                    logger.exception("room_not_followed", conversation_id=str(self.id))
        finally:
            self._task = None

    async def _catch_up(self) -> None:
        """New messages first: what has changed of one that is not in the journal yet is read with it."""
        since, self._missed_since = self._missed_since, None
        try:
            await self._fetch(also=since is not None)
            if since is not None:
                await self._fetch_changes(since)
        except BaseException:
            self._missed_since = since or self._missed_since
            raise
        self._publish_changes()
        if self._is_presence_stale:
            self._is_presence_stale = False
            try:
                await self.present()
            except BaseException:
                self._is_presence_stale = True
                raise

    async def _fetch(self, *, also: bool) -> None:
        """Put what was appended into the journal. `also`: look for more when nothing is known of any."""
        while also or self._appended > (self.fetched or 0):
            wanted = self._appended  # more may come while this is read
            through = INT64_MAX if also else wanted
            rows = await self._transcripts.after(EVERYTHING, self.id, self.fetched or 0, through=through)
            self._publish(rows)
            also = also and bool(rows)
            if not rows:  # removed since
                self.fetched = max(self.fetched or 0, wanted)

    def _publish(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self.journal.append(message_entry("message", row))
            self.fetched = row["seq"]
        self._wake()

    async def _fetch_changes(self, since: datetime) -> None:
        seq = 0
        while rows := await self._transcripts.after(EVERYTHING, self.id, seq, changed_since=since):
            self._changed.update({row["_id"]: row for row in rows})
            self._publish_changes()
            seq = rows[-1]["seq"]

    def _publish_changes(self) -> None:
        changed, self._changed = self._changed, {}
        for row in sorted(changed.values(), key=lambda row: int(row["seq"])):
            if row["seq"] <= (self.fetched or 0):
                self.journal.append(message_entry("message.updated", row))
        if changed:
            self._wake()
