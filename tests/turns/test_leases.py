"""Turns of processes that died, that only seemed to, and that cannot store how they ended."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect

from app.config import Settings
from app.database import Database
from app.kit.repository import EVERYTHING
from app.llm.echo import Echo
from app.services import Services, build_services
from app.turns import runner, writer
from app.turns.beginning import Begun
from app.turns.model import TurnEvents, Worker
from app.turns.streams import outcome_of
from app.turns.workers import Membership, WorkerRepository
from tests.conftest import Person
from tests.streams import events_of, joined, stream, streaming
from tests.turns.conftest import begin, ended, logged_text, messages_of, wait_for_delta
from tests.upstream import TOKENS, Upstream

pytestmark = pytest.mark.mongod

DRIP = {"content": "Hi", "model": "local:drip"}


async def first_word(services: Services, begun: Begun, upstream: Upstream) -> None:
    """Return when the first word of the answer is stored."""
    upstream.gate.release()
    events = await services.turns.streams.open(begun.turn["id"])
    await wait_for_delta(events)
    await events.aclose()


async def expire(services: Services) -> None:
    """Let the process have been silent for years."""
    worker = services.housekeeping._membership.id
    await Worker.get_pymongo_collection().update_one(
        {"_id": worker}, {"$set": {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}}
    )


async def bury(by: Services, dead: Services) -> None:
    """Let one process end the turns of another one."""
    await expire(dead)
    await by.housekeeping._sweep()
    seen = by.housekeeping._membership._seen
    seen.update({id: (expires_at, 0.0) for id, (expires_at, _) in seen.items()})  # it was seen long ago
    await by.housekeeping._sweep()


@pytest.mark.slow
async def test_a_turn_whose_process_is_silent_is_interrupted_and_keeps_its_text(
    as_ana: httpx.AsyncClient, ana: Person, conversation: str, silent: Services, upstream: Upstream, settings: Settings
) -> None:
    begun = await begin(silent, ana, conversation)
    await first_word(silent, begun, upstream)

    async with asyncio.timeout(settings.turn_lease * 2.5):
        while (stored := await silent.turns.get(EVERYTHING, begun.turn["id"]))["state"] == "running":  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    assert stored["state"] == "interrupted"
    assert stored["assistant_message"]["content"] == TOKENS[0]
    assert stored["assistant_message"]["status"] == "interrupted"
    assert stored["error"]["code"] == "server_died"
    assert (await as_ana.post(f"{conversation}/turns", json={"content": "Again"})).status_code == 201


async def test_a_process_that_wakes_up_too_late_writes_nothing_and_tells_what_is_stored(
    as_ana: httpx.AsyncClient,
    ana: Person,
    conversation: str,
    silent: Services,
    other: Services,
    upstream: Upstream,
) -> None:
    begun = await begin(silent, ana, conversation)
    await first_word(silent, begun, upstream)
    follower = await silent.turns.streams.open(begun.turn["id"])
    await bury(other, silent)
    logged = await TurnEvents.get_pymongo_collection().find().to_list()
    stored = await messages_of(as_ana, conversation)
    for _ in TOKENS[1:]:
        upstream.gate.release()

    told = await outcome_of(follower)

    assert told["state"] == "interrupted"
    assert told["assistant_message"]["content"] == TOKENS[0]
    assert told == await silent.turns.get(EVERYTHING, begun.turn["id"])
    assert await TurnEvents.get_pymongo_collection().find().to_list() == logged
    assert await messages_of(as_ana, conversation) == stored
    assert await logged_text() == TOKENS[0]


async def test_a_word_that_was_stored_just_before_the_end_is_kept(
    ana: Person,
    conversation: str,
    silent: Services,
    other: Services,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = await begin(silent, ana, conversation)
    await first_word(silent, begun, upstream)
    read = other.housekeeping._events.text

    async def read_then_another_word(turn_id: ObjectId) -> tuple[str, int]:
        found = await read(turn_id)
        if found[0] == TOKENS[0]:
            events = await silent.turns.streams.open(begun.turn["id"], after=2)
            upstream.gate.release()
            await wait_for_delta(events)
            await events.aclose()
        return found

    monkeypatch.setattr(other.housekeeping._events, "text", read_then_another_word)
    await bury(other, silent)

    stored = await other.turns.get(EVERYTHING, begun.turn["id"])
    assert (stored["state"], stored["assistant_message"]["content"]) == ("interrupted", TOKENS[0] + TOKENS[1])
    assert await logged_text() == TOKENS[0] + TOKENS[1]


async def test_a_process_that_was_declared_dead_goes_on_under_another_name(
    ana: Person, conversation: str, silent: Services, other: Services, upstream: Upstream
) -> None:
    begun = await begin(silent, ana, conversation)
    await first_word(silent, begun, upstream)
    before = silent.housekeeping._membership.id
    await bury(other, silent)

    await silent.housekeeping._membership.renew()

    assert silent.housekeeping._membership.id != before
    assert (await silent.turns.outcome(begun.turn))["state"] == "interrupted"
    again = await begin(silent, ana, conversation, model="echo")
    assert (await silent.turns.outcome(again.turn))["state"] == "completed"


async def test_who_was_silent_because_the_database_was_away_is_given_time_to_be_heard(
    ana: Person, conversation: str, silent: Services, other: Services, upstream: Upstream
) -> None:
    begun = await begin(silent, ana, conversation)
    await expire(silent)

    await other.housekeeping._sweep()
    await silent.housekeeping._membership.renew()
    await other.housekeeping._sweep()

    assert (await other.turns.get(EVERYTHING, begun.turn["id"]))["state"] == "running"
    for _ in TOKENS:
        upstream.gate.release()
    assert (await other.turns.outcome(begun.turn))["state"] == "completed"


async def test_a_worker_that_renews_in_the_last_moment_is_not_declared_dead(empty_database: Database) -> None:
    rows = WorkerRepository(lease_seconds=1)
    member = Membership(rows)
    await member.renew()
    await Worker.get_pymongo_collection().update_one({}, {"$set": {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}})
    [silent] = await rows.silent()

    await member.renew()

    assert not await rows.declare_dead(silent)
    assert await rows.silent() == []


@pytest.mark.slow
async def test_a_turn_that_outlasts_its_lease_many_times_is_left_alone(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream, settings: Settings, other: Services
) -> None:
    async with streaming(live_ana, f"{conversation}/turns", DRIP) as response:
        events = events_of(response)
        await anext(events)
        for _ in TOKENS:
            await asyncio.sleep(settings.turn_lease * 0.6)
            upstream.gate.release()
            assert (await anext(events)).event == "delta"
        assert (await anext(events)).event == "turn.completed"


async def test_a_process_does_not_bury_its_own_turns_after_the_database_was_away(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream, services: Services
) -> None:
    async with streaming(live_ana, f"{conversation}/turns", DRIP) as response:
        await bury(services, services)
        busy = await live_ana.post(f"{conversation}/turns", json={"content": "Again"})
        assert busy.status_code == 409
        for _ in TOKENS:
            upstream.gate.release()
        events = [event async for event in events_of(response)]

    assert events[-1].event == "turn.completed"
    assert joined(events) == "".join(TOKENS)


async def test_a_turn_that_was_stored_and_never_ran_is_ended(
    ana: Person, as_ana: httpx.AsyncClient, conversation: str, silent: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    beginnings = silent.turns.beginnings
    claim = beginnings._claim

    async def lost(*args: Any, **options: Any) -> Any:
        await claim(*args, **options)
        raise AutoReconnect("the answer to the commit was lost")

    monkeypatch.setattr(beginnings, "_claim", lost)
    with pytest.raises(AutoReconnect):
        await begin(silent, ana, conversation)
    assert [message["status"] for message in await messages_of(as_ana, conversation)] == ["complete", "streaming"]

    await silent.housekeeping._sweep()
    await silent.housekeeping._sweep()

    assert [message["status"] for message in await messages_of(as_ana, conversation)] == ["complete", "interrupted"]


async def test_a_turn_whose_conversation_is_purged_ends_for_those_who_follow(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    async with streaming(live_ana, f"{conversation}/turns", DRIP) as response:
        events = events_of(response)
        await anext(events)
        purged = await live_ana.delete(conversation, params={"permanent": "true"})
        assert purged.status_code == 204
        rest = [event async for event in events]

    assert rest[-1].event == "turn.cancelled"
    assert rest[-1].data["state"] == "cancelled"
    assert await TurnEvents.get_pymongo_collection().count_documents({}) == 0
    await upstream.hung_up.acquire()


def failing(work: Callable[..., Awaitable[Any]], *, times: int) -> Callable[..., Awaitable[Any]]:
    """`work`, before which the database goes away so many times."""
    left = times

    async def fail(*args: Any, **options: Any) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise AutoReconnect("connection closed")
        return await work(*args, **options)

    return fail


def unheard(work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """`work`, done the first time but never answered."""
    is_first = True

    async def fail(*args: Any, **options: Any) -> Any:
        nonlocal is_first
        result = await work(*args, **options)
        if is_first:
            is_first = False
            raise AutoReconnect("connection closed")
        return result

    return fail


@pytest.mark.parametrize("fault", [lambda work: failing(work, times=2), unheard], ids=["not done", "not heard"])
async def test_an_end_that_seems_not_to_be_stored_is_tried_again(
    live_ana: httpx.AsyncClient,
    conversation: str,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[..., Any],
) -> None:
    monkeypatch.setattr(runner, "_PAUSES", (0, 0, 0))
    finisher = services.turns._finisher
    monkeypatch.setattr(finisher, "finish", fault(finisher.finish))

    events = await stream(live_ana, f"{conversation}/turns", {"content": "Hello, world of words"})

    assert events[-1].event == "turn.completed"
    assert joined(events) == events[-1].data["assistant_message"]["content"] == "Hello, world of words"
    assert events[-1].data["last_event"] == events[-1].id
    assert await logged_text() == "Hello, world of words"


async def test_a_turn_that_cannot_store_its_end_says_what_will_be_made_of_it(
    live_ana: httpx.AsyncClient, conversation: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_PAUSES", (0, 0, 0))
    finisher = services.turns._finisher
    monkeypatch.setattr(finisher, "finish", failing(finisher.finish, times=3))

    events = await stream(live_ana, f"{conversation}/turns", {"content": "Hello"})

    told = events[-1]
    assert told.event == "turn.interrupted"
    assert told.data["assistant_message"]["content"] == joined(events) == "Hello"
    await services.housekeeping._sweep()
    await services.housekeeping._sweep()
    stored = await services.turns.get(EVERYTHING, ObjectId(told.data["id"]))
    assert (stored["state"], stored["assistant_message"]["content"]) == ("interrupted", "Hello")


async def test_a_client_that_waits_is_told_that_the_end_could_not_be_stored(
    as_ana: httpx.AsyncClient, conversation: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_PAUSES", (0,))
    monkeypatch.setattr(services.turns._finisher, "finish", failing(services.turns._finisher.finish, times=1))

    response = await as_ana.post(f"{conversation}/turns", json={"content": "Hello"})

    assert response.status_code == 503
    assert response.json()["reason"] == "database_unavailable"
    assert int(response.headers["retry-after"]) >= 1


async def test_a_word_that_cannot_be_stored_is_not_shown_and_the_turn_fails(
    live_ana: httpx.AsyncClient, conversation: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = (0.0,) * len(writer._PAUSES)
    monkeypatch.setattr(writer, "_PAUSES", pauses)
    events_rows = services.turns._events
    monkeypatch.setattr(events_rows, "append", failing(events_rows.append, times=len(pauses) + 1))

    events = await stream(live_ana, f"{conversation}/turns", {"content": "Hello", "model": "local:tokens"})

    assert [event.event for event in events] == ["turn.started", "turn.failed"]
    assert events[-1].data["error"]["code"] == "database_unavailable"
    assert (await messages_of(live_ana, conversation))[1]["content"] == ""


async def test_a_fault_of_the_program_is_a_500_with_the_turn(
    as_ana: httpx.AsyncClient, conversation: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Echo, request: Any) -> Any:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(Echo, "stream", broken)

    response = await as_ana.post(f"{conversation}/turns", json={"content": "Hello"})

    assert response.status_code == 500
    assert response.json()["turn"]["state"] == "failed"
    assert "secret detail" not in response.text
    turn = await ended(services, response.headers["location"])
    assert turn["error"]["code"] == "internal_error"


async def test_two_processes_that_bury_the_same_turn_end_it_once(
    ana: Person, conversation: str, silent: Services, other: Services, services: Services, upstream: Upstream
) -> None:
    begun = await begin(silent, ana, conversation)
    await first_word(silent, begun, upstream)
    turn = await silent.turns.rows.find_stored({"_id": begun.turn["id"]})
    assert turn is not None

    await asyncio.gather(*(process.housekeeping.interrupt(turn) for process in (other, services) * 3))

    ends = await TurnEvents.get_pymongo_collection().find({"end": {"$exists": True}}).to_list()
    assert [row["end"] for row in ends] == ["interrupted"]
    assert (await other.turns.get(EVERYTHING, begun.turn["id"]))["version"] == 2


async def test_a_process_that_ends_in_order_is_not_waited_for(
    ana: Person, conversation: str, upstream: Upstream, settings: Settings, empty_database: Database
) -> None:
    leaving = build_services(settings, empty_database)
    begun = await begin(leaving, ana, conversation)
    await first_word(leaving, begun, upstream)

    leaving.turns.runner.stop()
    await leaving.aclose()

    stored = await leaving.turns.get(EVERYTHING, begun.turn["id"])
    assert (stored["state"], stored["error"]["code"]) == ("interrupted", "server_stopped")
    assert stored["assistant_message"]["content"] == TOKENS[0]
    left = {"_id": leaving.housekeeping._membership.id}
    assert await Worker.get_pymongo_collection().count_documents(left) == 0
