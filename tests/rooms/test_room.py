"""A room that is told of a message while it reads another one."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest
from bson import ObjectId

from app.conversations.model import Message
from app.kit.repository import EVERYTHING, Row, Scope
from app.rooms.journal import Entry
from app.rooms.repository import PresenceRepository, TranscriptRepository
from app.rooms.room import Room
from app.rooms.subscription import Participant, Subscription

pytestmark = pytest.mark.usefixtures("database")  # without which no document can be made

ROOM = ObjectId()


class Transcript:
    """Stored messages, whose next reading a test can hold up after it has looked."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.looked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def store(self, seq: int, **fields: Any) -> Row:
        row = Message(conversation_id=ROOM, owner_id=ROOM, seq=seq, role="user", content="x", **fields).to_row()
        self.rows = [each for each in self.rows if each["seq"] != seq] + [row]
        return row

    async def after(
        self, scope: Scope, conversation_id: ObjectId, seq: int, *, through: int = 2**63, **_: Mapping[str, Any]
    ) -> list[Row]:
        found = [row for row in self.rows if seq < row["seq"] <= through]
        self.looked.set()
        await self.may_answer.wait()
        return found


@pytest.fixture
def transcript() -> Transcript:
    return Transcript()


@pytest.fixture
def room(transcript: Transcript) -> Room:
    room = Room(ROOM, cast("TranscriptRepository", transcript), cast("PresenceRepository", None))
    room.begin(0)
    return room


@pytest.fixture
def follower(room: Room, transcript: Transcript) -> Subscription:
    who = Participant(ObjectId(), "Ana")
    subscription = Subscription(room, EVERYTHING, who, cast("TranscriptRepository", transcript))
    room.members.add(subscription)
    subscription.begin(0, None)
    return subscription


async def following(follower: Subscription, count: int) -> list[Entry]:
    entries: list[Entry] = []
    async with asyncio.timeout(5):
        while len(entries) < count:
            entries += await follower.next() or ()
    return entries


async def test_a_message_that_comes_while_nothing_is_found_is_not_taken_for_removed(
    room: Room, transcript: Transcript, follower: Subscription
) -> None:
    transcript.may_answer.clear()
    room.appended(1)  # which was removed before it could be read
    await transcript.looked.wait()
    transcript.store(2)
    room.appended(2)
    transcript.may_answer.set()

    assert [each.seq for each in await following(follower, 1)] == [2]


async def test_a_change_that_comes_while_the_message_is_read_is_told_behind_it(
    room: Room, transcript: Transcript, follower: Subscription
) -> None:
    transcript.store(1, status="streaming")
    transcript.may_answer.clear()
    room.appended(1)
    await transcript.looked.wait()
    room.changed(transcript.store(1, status="complete"))
    transcript.may_answer.set()

    entries = await following(follower, 2)
    assert [(each.kind, each.is_streaming) for each in entries] == [("message", True), ("message.updated", False)]
