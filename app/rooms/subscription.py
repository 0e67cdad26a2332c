"""One follower of a room. It holds a number and a place in the journal, so it costs nobody anything to be slow."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bson import ObjectId

from app.kit.clock import now
from app.kit.repository import EVERYTHING, Scope
from app.rooms.journal import Entry, message_entry, presence_entry
from app.rooms.repository import TranscriptRepository
from app.rooms.room import Room

BATCH = 64
"""Entries that a follower is handed at once."""
CLOCKS_DIFFER = timedelta(minutes=1)
"""By how much processes may disagree about the time at which a message was changed."""


@dataclass(frozen=True)
class Participant:
    """Somebody who follows, with the name that others see."""

    user_id: ObjectId
    name: str


class Subscription:
    """Every message behind a number once and in order, then what comes; changes of messages that were handed out; who
    is there, when that changes.

    `scope` is of conversations: who may read this one may read its messages, until `is_revoked`.
    """

    def __init__(self, room: Room, scope: Scope, who: Participant, transcripts: TranscriptRepository) -> None:
        self.id = ObjectId()
        self.room = room
        self.who = who
        self.scope = scope
        self.position = room.journal.end
        self.is_present = False
        self.is_revoked = False
        self._transcripts = transcripts
        self._news = asyncio.Event()
        self._seen = 0
        self._joined_at = 0
        self._is_behind = False
        self._missed: tuple[datetime, int] | None = None
        self._current_at = now()

    @property
    def key(self) -> dict[str, ObjectId]:
        """The id of its presence."""
        return {"conversation_id": self.room.id, "subscription": self.id}

    @property
    def seen(self) -> int:
        """The number of the last message that was handed out."""
        return self._seen

    def begin(self, last_seq: int, after_seq: int | None) -> None:
        """Hand out what comes behind a number; without one what comes behind the present end, `last_seq`."""
        self._joined_at = last_seq
        self._seen = last_seq if after_seq is None else min(after_seq, last_seq)
        self._is_behind = self._seen < last_seq
        self.position = self.room.journal.end

    def wake(self) -> None:
        self._news.set()

    def revoke(self) -> None:
        """Hand out nothing more: the conversation is shared with them no more."""
        self.is_revoked = True
        self.wake()

    def begins_turn(self, entry: Entry) -> bool:
        """Whether the events of the answer's turn are to follow: it came after the subscription, or is not over."""
        is_new = entry.seq > self._joined_at or entry.is_streaming
        return entry.kind == "message" and entry.turn_id is not None and is_new

    async def next(self) -> Sequence[Entry] | None:
        """The next entries, waited for; None when the conversation is gone or revoked. Raises PyMongoError: then ask
        again."""
        while not (self.room.is_gone or self.is_revoked):
            self._news.clear()
            if entries := await self._ready():
                return None if self.is_revoked else entries
            if not self._is_behind and self._missed is None:
                await self._news.wait()
        return None

    async def _ready(self) -> Sequence[Entry]:
        if self.position < self.room.journal.first:  # slower than the room remembers
            self._missed = self._missed or (self._current_at - CLOCKS_DIFFER, 0)
            self._is_behind = True
            self.position = self.room.journal.end
        if self._is_behind:
            if entries := await self._read_behind():
                return entries
            self._is_behind = False
            if self._missed is None:
                return self._read_journal(may_leap=True)
        if self._missed is not None:
            return await self._read_missed(*self._missed)
        return self._read_journal()

    async def _read_behind(self) -> Sequence[Entry]:
        known = max(self.room.known, self._joined_at)
        rows = await self._transcripts.after(EVERYTHING, self.room.id, self._seen, through=known)
        if rows:
            self._seen = rows[-1]["seq"]
        return [message_entry("message", row) for row in rows]

    async def _read_missed(self, since: datetime, after: int) -> Sequence[Entry]:
        """What has changed meanwhile, and at last who is there."""
        rows = await self._transcripts.after(EVERYTHING, self.room.id, after, changed_since=since)
        if rows:
            self._missed = (since, rows[-1]["seq"])
            return [message_entry("message.updated", row) for row in rows if row["seq"] <= self._seen]
        self._missed = None
        return [presence_entry(self.room.id, self.room.users)]

    def _read_journal(self, *, may_leap: bool = False) -> Sequence[Entry]:
        """`may_leap`: the database has just said that nothing lies between what was seen and what comes."""
        entries: list[Entry] = []
        for entry in self.room.journal.read(self.position):
            if entry.kind == "message" and entry.seq > self._seen + 1 and not may_leap:
                self._is_behind = True
                break
            self.position += 1
            if self._is_news(entry):
                entries.append(entry)
            if len(entries) == BATCH:
                break
        if self.position == self.room.journal.end:
            self._current_at = now()
            self.room.tidy()
        return entries

    def _is_news(self, entry: Entry) -> bool:
        if entry.kind == "message":
            is_next = entry.seq > self._seen
            self._seen = max(self._seen, entry.seq)
            return is_next
        return entry.kind == "presence" or entry.seq <= self._seen
