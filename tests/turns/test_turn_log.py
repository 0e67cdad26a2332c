"""The log of one turn: stored first, then shown, to everyone from wherever they are."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect, OperationFailure

from app.kit.repository import Row
from app.turns import writer
from app.turns.events import Event, EventRepository, LogTaken, delta
from app.turns.log import BATCH, TurnLog, events_of
from app.turns.writer import LogWriter, OwnLog

NO_PAUSES = (0.0,) * len(writer._PAUSES)


class Store(EventRepository):
    """Keeps the rows it is given, once it is let; a number can be taken once."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.writes: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()
        self.faults: list[tuple[Exception, bool]] = []

    async def append(self, rows: Sequence[Row]) -> set[int]:
        self.asked.set()
        await self.gate.wait()
        self.writes.append(len(rows))
        error, is_stored = self.faults.pop(0) if self.faults else (None, True)
        known = [row["_id"] for row in self.rows]
        taken = {index for index, row in enumerate(rows) if row["_id"] in known}
        if is_stored:
            self.rows += [row for index, row in enumerate(rows) if index not in taken]
        if error is not None:
            raise error
        return taken

    async def read(self, turn_id: ObjectId, *, after: int = 0, limit: int = 1000) -> list[Row]:
        rows = [row for row in self.rows if row["_id"]["turn_id"] == turn_id and row["_id"]["seq"] > after]
        return sorted(rows, key=lambda row: int(row["_id"]["seq"]))[:limit]

    def stored(self, log: OwnLog) -> list[tuple[int, str]]:
        return [(row["_id"]["seq"], row["text"]) for row in self.rows if row["_id"]["turn_id"] == log.turn_id]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def logs(store: Store) -> LogWriter:
    return LogWriter(store)


def begin(logs: LogWriter) -> OwnLog:
    return logs.log(ObjectId(), "me", "started")


async def finish(log: OwnLog, logs: LogWriter) -> None:
    """Let everything be written, and end the log."""
    await logs.aclose()
    await log.close()
    log.publish(*log.final_events())
    log.publish(Event(log.last + 1, "turn.completed", "ended"))


async def follow(log: TurnLog, after: int = 0) -> list[Event]:
    return [event async for event in events_of(log.follow(after))]


async def until_text(log: TurnLog, text: str) -> None:
    follower = log.follow(log.last)
    async with asyncio.timeout(5):
        while log.text != text:
            await follower.next(None)
    await follower.aclose()


async def test_events_are_numbered_from_one_and_deltas_are_the_stored_rows(store: Store, logs: LogWriter) -> None:
    log = begin(logs)
    follower = asyncio.create_task(follow(log))
    for piece in ("a", "b", "c"):
        log.write(piece)
        await asyncio.sleep(0)
    await finish(log, logs)

    events = await follower

    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert [(event.number, event.data["text"]) for event in events[1:-1]] == store.stored(log)
    assert "".join(text for _, text in store.stored(log)) == log.text == "abc"
    assert (events[0].data, events[-1].data) == ("started", "ended")


async def test_nothing_is_shown_before_it_is_stored(store: Store, logs: LogWriter) -> None:
    store.gate.clear()
    log = begin(logs)
    follower = log.follow(1)
    log.write("word")
    await store.asked.wait()

    assert await follower.next(0.01) == []
    assert log.text == ""
    store.gate.set()
    assert await follower.next(5) == [delta(2, "word")]
    assert store.stored(log) == [(2, "word")]


async def test_the_first_piece_is_written_at_once_and_later_ones_share_a_write(store: Store, logs: LogWriter) -> None:
    store.gate.clear()
    log = begin(logs)
    log.write("first")
    await store.asked.wait()
    for piece in ("second ", "third ", "fourth"):
        log.write(piece)
    store.gate.set()
    await until_text(log, "firstsecond third fourth")

    assert store.stored(log) == [(2, "first"), (3, "second third fourth")]


async def test_the_pieces_of_many_answers_are_one_write(store: Store, logs: LogWriter) -> None:
    many = [begin(logs) for _ in range(100)]
    for log in many:
        log.write("first ")
    await asyncio.gather(*(until_text(log, "first ") for log in many))
    for log in many:
        log.write("second")
    await asyncio.gather(*(until_text(log, "first second") for log in many))

    assert store.writes == [100, 100]
    assert all(store.stored(log) == [(2, "first "), (3, "second")] for log in many)


async def test_a_first_piece_does_not_wait_for_the_writes_of_others(
    store: Store, logs: LogWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs._rest, "_window", 3600.0)
    log = begin(logs)
    log.write("first")
    await until_text(log, "first")
    log.write("second")
    await until_text(log, "firstsecond")  # the first one of the long window
    log.write("third")
    other = begin(logs)
    other.write("mine")

    await until_text(other, "mine")

    assert log.text == "firstsecond"
    assert log.pending == "third"
    assert logs._rest._task is not None
    logs._rest._task.cancel()


async def test_late_and_slow_followers_get_everything(logs: LogWriter) -> None:
    log = begin(logs)
    early = asyncio.create_task(follow(log))
    log.write("word")
    await until_text(log, "word")
    middle = asyncio.create_task(follow(log))
    await finish(log, logs)

    assert await early == await middle == await follow(log)
    assert [event.name for event in await early] == ["turn.started", "delta", "turn.completed"]


@pytest.mark.parametrize(("after", "first"), [(0, 1), (1, 2), (2, 3), (3, 3), (4, 3), (1_000_000, 3)])
async def test_a_follower_goes_on_behind_what_it_knows_and_always_gets_the_end(
    logs: LogWriter, after: int, first: int
) -> None:
    log = begin(logs)
    early = asyncio.create_task(follow(log, after))
    log.write("word")
    await finish(log, logs)

    for events in (await early, await follow(log, after)):
        assert [event.number for event in events] == list(range(first, 4))


async def test_a_long_log_comes_in_batches(logs: LogWriter) -> None:
    log = TurnLog("started")
    log.publish(*[delta(number, "x") for number in range(2, 2 * BATCH + 11)])
    follower = log.follow()

    sizes = [len(await follower.next(0) or ()) for _ in range(4)]

    assert sizes == [BATCH, BATCH, 10, 0]


def test_a_log_takes_no_gap_and_nothing_behind_its_end() -> None:
    log = TurnLog("started")
    with pytest.raises(ValueError, match="does not follow"):
        log.publish(delta(3, "x"))
    log.publish(Event(2, "turn.failed", "ended"))
    with pytest.raises(ValueError, match="does not follow"):
        log.publish(delta(3, "x"))


async def test_a_follower_that_left_costs_nothing(logs: LogWriter) -> None:
    log = TurnLog("started")
    follower = log.follow()
    await follower.aclose()
    await follower.aclose()

    assert not log._followers


@pytest.mark.parametrize("is_stored", [False, True])
async def test_a_write_that_seems_to_fail_is_made_again_and_happens_once(
    store: Store, logs: LogWriter, monkeypatch: pytest.MonkeyPatch, is_stored: bool
) -> None:
    monkeypatch.setattr(writer, "_PAUSES", NO_PAUSES)
    store.faults = [(AutoReconnect("gone"), is_stored), *[(OperationFailure("no keys yet", 211), False)] * 2]
    log = begin(logs)
    log.write("word")
    await until_text(log, "word")

    assert store.stored(log) == [(2, "word")]
    assert not log.broken.done()


async def test_what_cannot_be_stored_is_never_shown(
    store: Store, logs: LogWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_PAUSES", NO_PAUSES)
    error = AutoReconnect("gone")
    store.faults = [(error, False)] * (len(NO_PAUSES) + 1)
    log = begin(logs)
    log.write("word")

    assert await log.broken is error
    log.write("more")
    await logs.aclose()
    assert (log.text, store.stored(log)) == ("", [])


async def test_a_number_that_another_process_has_taken_breaks_this_log_and_no_other(
    store: Store, logs: LogWriter
) -> None:
    fenced, alive = begin(logs), begin(logs)
    store.rows.append(store.row(fenced.turn_id, 2, "other", end="interrupted"))
    fenced.write("word")
    alive.write("word")

    assert isinstance(await fenced.broken, LogTaken)
    await until_text(alive, "word")
    assert fenced.text == ""
    assert fenced.adopt(await store.read(fenced.turn_id, after=1)) == "interrupted"
    assert len([row for row in store.rows if row["_id"]["turn_id"] == fenced.turn_id]) == 1


async def test_a_stored_piece_whose_acknowledgement_was_lost_is_shown_once(store: Store, logs: LogWriter) -> None:
    log = begin(logs)
    store.gate.clear()
    log.write("one ")
    await store.asked.wait()
    log.write("two")
    store.rows.append(store.row(log.turn_id, 2, "me", text="one "))
    store.gate.set()
    await until_text(log, "one two")

    assert [text for _, text in sorted(store.stored(log))] == ["one ", "two"]


async def test_what_is_pending_at_the_end_comes_with_it(store: Store, logs: LogWriter) -> None:
    store.gate.clear()
    log = begin(logs)
    log.write("one ")
    await store.asked.wait()
    log.write("two")
    closing: Any = asyncio.create_task(log.close())
    store.gate.set()
    await closing

    assert log.text == "one "
    assert log.final_events() == [delta(3, "two")]
    assert store.stored(log) == [(2, "one ")]
