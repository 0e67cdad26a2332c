"""The log of one turn: stored first, then shown, to everyone from the beginning."""

import asyncio
from contextlib import aclosing

import pytest

from app.turns.log import Event, TurnLog, told_again


class Store:
    """Keeps what it is given, once it is let."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()

    async def __call__(self, number: int, text: str) -> None:
        self.asked.set()
        await self.gate.wait()
        self.rows.append((number, text))


async def follow(log: TurnLog) -> list[Event]:
    async with aclosing(log.follow()) as events:
        return [event async for event in events]


async def test_events_are_numbered_from_one_and_deltas_are_the_stored_rows() -> None:
    store = Store()
    log = TurnLog(store, "started")
    follower, flushing = asyncio.create_task(follow(log)), asyncio.create_task(log.flush_until_closed())
    for piece in ("a", "b", "c"):
        log.write(piece)
        await asyncio.sleep(0)
    log.close()
    await flushing
    await log.end("turn.completed", "ended")

    events = await follower

    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert [(event.number, event.data["text"]) for event in events[1:-1]] == store.rows
    assert "".join(text for _, text in store.rows) == log.text == "abc"
    assert (events[0].data, events[-1].data) == ("started", "ended")


async def test_nothing_is_shown_before_it_is_stored() -> None:
    store = Store()
    store.gate.clear()
    log = TurnLog(store, "started")
    flushing = asyncio.create_task(log.flush_until_closed())
    async with aclosing(log.follow()) as events:
        await anext(events)
        following = asyncio.create_task(anext(events))
        log.write("word")
        await store.asked.wait()
        assert not following.done()
        assert log.text == ""
        store.gate.set()
        assert (await following).data == {"text": "word"}
        assert store.rows == [(2, "word")]
    log.close()
    await flushing


async def test_pieces_that_wait_for_the_store_become_one_delta() -> None:
    store = Store()
    store.gate.clear()
    log = TurnLog(store, "started")
    flushing = asyncio.create_task(log.flush_until_closed())
    log.write("first")
    await store.asked.wait()
    for piece in ("second ", "third ", "fourth"):
        log.write(piece)
    log.close()
    store.gate.set()
    await flushing

    assert store.rows == [(2, "first"), (3, "second third fourth")]


async def test_late_and_slow_followers_get_everything() -> None:
    log = TurnLog(Store(), "started")
    flushing = asyncio.create_task(log.flush_until_closed())
    early = asyncio.create_task(follow(log))
    log.write("word")
    log.close()
    await flushing
    middle = asyncio.create_task(follow(log))
    await log.end("turn.completed", "ended")

    assert await early == await middle == await follow(log)
    assert [event.name for event in await early] == ["turn.started", "delta", "turn.completed"]


async def test_what_cannot_be_stored_is_never_shown() -> None:
    async def refuse(number: int, text: str) -> None:
        raise OSError("disk full")

    log = TurnLog(refuse, "started")
    log.write("word")

    with pytest.raises(OSError, match="disk full"):
        await log.flush_until_closed()
    await log.end("turn.failed", "ended")

    assert [event.name for event in await follow(log)] == ["turn.started", "turn.failed"]
    assert log.text == ""


async def test_a_log_without_a_word_ends() -> None:
    log = TurnLog(Store(), "started")
    log.close()
    await log.flush_until_closed()
    await log.end("turn.completed", "ended")

    assert [event.number for event in await follow(log)] == [1, 2]


def test_a_finished_turn_is_told_with_the_numbers_it_had() -> None:
    events = told_again("turn", "turn.completed", ["a", "b"])

    assert [(event.number, event.name) for event in events] == [
        (1, "turn.started"),
        (2, "delta"),
        (3, "delta"),
        (4, "turn.completed"),
    ]
    assert [event.number for event in told_again("turn", "turn.failed", [])] == [1, 2]
