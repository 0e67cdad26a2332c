"""Turns of processes that died, that only seemed to, and that cannot store how they ended."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
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
from app.turns import runner
from app.turns.model import Turn
from app.turns.schemas import TurnCreate
from app.turns.service import Begun
from tests.conftest import Person
from tests.streams import events_of, joined, stream, streaming
from tests.turns.conftest import ended, messages_of
from tests.upstream import TOKENS, Upstream

pytestmark = pytest.mark.mongod

DRIP = {"content": "Hi", "model": "local:drip"}


@pytest.fixture
async def silent(settings: Settings, empty_database: Database) -> AsyncIterator[Services]:
    """A process that never renews its leases."""
    built = build_services(settings, empty_database)
    yield built
    built.turns.runner.stop()
    await built.aclose()


async def begin(services: Services, person: Person, conversation: str) -> Begun:
    id = ObjectId(conversation.rpartition("/")[2])
    return await services.turns.begin(EVERYTHING, id, TurnCreate(content="Hi", model="local:drip"), requester=person.id)


async def first_delta(begun: Begun, upstream: Upstream) -> None:
    upstream.gate.release()
    async for event in begun.events():
        if event.name == "delta":
            return


async def until_state(services: Services, turn: dict[str, Any], state: str) -> dict[str, Any]:
    """The turn once it is in this state, into which another process brings it."""
    async with asyncio.timeout(10):
        while (stored := await services.turns.get(EVERYTHING, turn["id"]))["state"] != state:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return stored


async def expire(turn_id: Any) -> None:
    await Turn.get_pymongo_collection().update_one(
        {"_id": turn_id}, {"$set": {"lease.expires_at": datetime(2020, 1, 1, tzinfo=UTC)}}
    )


@pytest.mark.slow
async def test_a_turn_whose_process_is_silent_is_interrupted_and_keeps_its_text(
    as_ana: httpx.AsyncClient, ana: Person, conversation: str, silent: Services, upstream: Upstream
) -> None:
    begun = await begin(silent, ana, conversation)
    await first_delta(begun, upstream)

    stored = await until_state(silent, begun.turn, "interrupted")

    assert stored["assistant_message"]["content"] == TOKENS[0]
    assert stored["assistant_message"]["status"] == "interrupted"
    assert stored["error"]["code"] == "server_died"
    assert (await as_ana.post(f"{conversation}/turns", json={"content": "Again"})).status_code == 201


async def test_a_process_that_wakes_up_too_late_stores_nothing_and_tells_what_is_stored(
    as_ana: httpx.AsyncClient, ana: Person, conversation: str, silent: Services, upstream: Upstream
) -> None:
    begun = await begin(silent, ana, conversation)
    await first_delta(begun, upstream)
    await expire(begun.turn["id"])
    await as_ana.post(f"{conversation}/turns", json={"content": "Again"})
    for _ in TOKENS[1:]:
        upstream.gate.release()

    told = await begun.outcome()

    assert told["state"] == "interrupted"
    assert told == await silent.turns.get(EVERYTHING, begun.turn["id"])
    assert told["assistant_message"]["content"] == TOKENS[0]


async def test_a_conversation_is_free_as_soon_as_the_lease_is_over(
    as_ana: httpx.AsyncClient, ana: Person, conversation: str, silent: Services, upstream: Upstream
) -> None:
    begun = await begin(silent, ana, conversation)
    await first_delta(begun, upstream)
    busy = await as_ana.post(f"{conversation}/turns", json={"content": "Again"})
    assert busy.status_code == 409
    await expire(begun.turn["id"])

    response = await as_ana.post(f"{conversation}/turns", json={"content": "Again"})

    assert response.status_code == 201
    statuses = [(message["seq"], message["status"]) for message in await messages_of(as_ana, conversation)]
    assert statuses == [(1, "complete"), (2, "interrupted"), (3, "complete"), (4, "complete")]


@pytest.mark.slow
async def test_a_turn_that_outlasts_its_lease_many_times_is_left_alone(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream, settings: Settings
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
        turn_id = ObjectId(response.headers["location"].rpartition("/")[2])
        await expire(turn_id)
        await services.turns.runner._reap()
        busy = await live_ana.post(f"{conversation}/turns", json={"content": "Again"})
        assert busy.status_code == 409
        for _ in TOKENS:
            upstream.gate.release()
        events = [event async for event in events_of(response)]

    assert events[-1].event == "turn.completed"
    assert joined(events) == "".join(TOKENS)


async def test_a_turn_whose_conversation_is_purged_ends_for_those_who_follow(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    async with streaming(live_ana, f"{conversation}/turns", DRIP) as response:
        events = events_of(response)
        await anext(events)
        purged = await live_ana.delete(conversation, params={"permanent": "true"})
        assert purged.status_code == 204
        for _ in TOKENS:
            upstream.gate.release()
        rest = [event async for event in events]

    assert rest[-1].event == "turn.interrupted"
    assert rest[-1].data["state"] == "interrupted"


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


async def test_an_end_that_cannot_be_stored_is_tried_again(
    as_ana: httpx.AsyncClient, conversation: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_PAUSES", (0, 0, 0))
    finisher = services.turns._finisher
    monkeypatch.setattr(finisher, "finish", failing(finisher.finish, times=2))

    response = await as_ana.post(f"{conversation}/turns", json={"content": "Hello"})

    assert response.status_code == 201
    assert response.json()["assistant_message"]["content"] == "Hello"


async def test_a_turn_that_cannot_store_its_end_says_what_its_lease_will_make_of_it(
    live_ana: httpx.AsyncClient, conversation: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_PAUSES", (0, 0, 0))
    finisher = services.turns._finisher
    monkeypatch.setattr(finisher, "finish", failing(finisher.finish, times=3))

    events = await stream(live_ana, f"{conversation}/turns", {"content": "Hello"})

    told = events[-1]
    assert told.event == "turn.interrupted"
    assert told.data["assistant_message"]["content"] == joined(events) == "Hello"
    await expire(ObjectId(told.data["id"]))
    await services.turns.runner._reap()
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
    monkeypatch.setattr(services.turns.rows, "log", failing(services.turns.rows.log, times=1))

    events = await stream(live_ana, f"{conversation}/turns", {"content": "Hello"})

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
