"""A room hears of a turn before the process that begins it has its log."""

import asyncio
from typing import Any, cast

from bson import ObjectId

from app.kit.changes import ChangeFeed
from app.turns.events import Event, EventRepository, delta
from app.turns.finisher import TurnFinisher
from app.turns.log import TurnLog
from app.turns.streams import TurnStreams

TURN = {"id": ObjectId(), "state": "running", "assistant_message": None}


class Feed:
    """A feed that brings nothing: what this process writes is not sent back to it."""

    def watch(self, watch: object) -> None: ...


class Stored:
    """A turn whose stored state is read while it begins to run here; its log is empty so far."""

    def __init__(self, logs: dict[Any, TurnLog]) -> None:
        self._logs = logs

    async def wire(self, turn_id: ObjectId) -> dict[str, Any]:
        self._logs[turn_id] = TurnLog(TURN)
        return TURN

    async def read(self, turn_id: ObjectId, **_: Any) -> list[Any]:
        return []


async def test_a_turn_that_begins_here_while_it_is_looked_up_is_told_from_its_own_log() -> None:
    logs: dict[Any, TurnLog] = {}
    stored = Stored(logs)
    streams = TurnStreams(
        cast("EventRepository", stored), cast("TurnFinisher", stored), logs.get, cast("ChangeFeed", Feed()), "us"
    )
    events = await streams.open(cast("ObjectId", TURN["id"]))
    logs[TURN["id"]].publish(delta(2, "word"), Event(3, "turn.completed", TURN))

    seen: list[Event] = []
    async with asyncio.timeout(5):
        while (batch := await events.next(None)) is not None:
            seen += batch
    await events.aclose()

    assert [each.name for each in seen] == ["turn.started", "delta", "turn.completed"]
