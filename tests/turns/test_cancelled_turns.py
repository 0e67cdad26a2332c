"""Cancelling: from the same process or another one, by hand or with the connection; the text so far is kept."""

import asyncio
import time

import httpx
import pytest
from bson import ObjectId

from app.kit.repository import EVERYTHING
from app.services import Services
from tests.conftest import Person
from tests.streams import events_of, streaming
from tests.turns.conftest import begin, ended, messages_of, wait_for_delta
from tests.upstream import TOKENS, Upstream

pytestmark = pytest.mark.mongod

DRIP = {"content": "Hi", "model": "local:drip"}


async def test_a_cancelled_turn_keeps_its_text_and_frees_the_conversation(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    async with streaming(live_ana, f"{conversation}/turns", DRIP) as response:
        events = events_of(response)
        await anext(events)
        upstream.gate.release()
        await anext(events)
        cancelled = await live_ana.post(f"{response.headers['location']}/cancel")
        rest = [event async for event in events]

    assert cancelled.status_code == 200
    turn = cancelled.json()
    assert (turn["state"], turn["error"]) == ("cancelled", None)
    assert (turn["assistant_message"]["content"], turn["assistant_message"]["status"]) == (TOKENS[0], "cancelled")
    assert [event.event for event in rest] == ["turn.cancelled"]
    assert rest[0].data == turn == (await live_ana.get(f"/api/turns/{turn['id']}")).json()
    await upstream.hung_up.acquire()
    following = await live_ana.post(f"{conversation}/turns", json={"content": "Again", "model": "local:tokens"})
    assert following.status_code == 201
    history = upstream.requests[-1].body["messages"]
    assert [message["content"] for message in history] == ["Hi", TOKENS[0], "Again"]


async def test_who_waits_for_a_cancelled_turn_is_answered_with_it(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    waiting = asyncio.create_task(live_ana.post(f"{conversation}/turns", json=DRIP))
    await upstream.arrived.acquire()
    busy = await live_ana.post(f"{conversation}/turns", json=DRIP)

    await live_ana.post(f"{busy.headers['location']}/cancel")

    response = await waiting
    assert (response.status_code, response.json()["state"]) == (201, "cancelled")


async def test_a_turn_that_is_over_stays_as_it_is(as_ana: httpx.AsyncClient, conversation: str) -> None:
    turn = (await as_ana.post(f"{conversation}/turns", json={"content": "Hi"})).json()

    for _ in range(2):
        response = await as_ana.post(f"/api/turns/{turn['id']}/cancel")
        assert (response.status_code, response.json()) == (200, turn)


async def test_nobody_cancels_what_is_not_theirs(
    as_ana: httpx.AsyncClient,
    as_ben: httpx.AsyncClient,
    as_analyst: httpx.AsyncClient,
    anonymous: httpx.AsyncClient,
    conversation: str,
    upstream: Upstream,
) -> None:
    waiting = asyncio.create_task(as_ana.post(f"{conversation}/turns", json=DRIP))
    await upstream.arrived.acquire()
    path = (await as_ana.post(f"{conversation}/turns", json=DRIP)).headers["location"] + "/cancel"

    statuses = [(await client.post(path)).status_code for client in (as_ben, as_analyst, anonymous)]

    assert statuses == [404, 403, 401]
    for _ in TOKENS:
        upstream.gate.release()
    assert (await waiting).json()["state"] == "completed"


async def test_another_process_cancels_within_a_second(
    ana: Person, conversation: str, services: Services, other: Services, upstream: Upstream
) -> None:
    await services.changes.opened()
    begun = await begin(services, ana, conversation)
    upstream.gate.release()
    await wait_for_delta(await services.turns.streams.open(begun.turn["id"]))
    started = time.monotonic()

    turn = await other.turns.cancel(EVERYTHING, begun.turn["id"])

    assert time.monotonic() - started < 1
    assert (turn["state"], turn["assistant_message"]["content"]) == ("cancelled", TOKENS[0])
    assert turn == await services.turns.get(EVERYTHING, begun.turn["id"])
    await upstream.hung_up.acquire()


async def test_a_process_that_is_blind_to_changes_cancels_when_it_looks(
    ana: Person, conversation: str, silent: Services, other: Services, upstream: Upstream
) -> None:
    begun = await begin(silent, ana, conversation)
    cancelling = asyncio.create_task(other.turns.cancel(EVERYTHING, begun.turn["id"]))
    async with asyncio.timeout(5):
        while not (await silent.turns.rows.to_cancel(worker_of(silent))):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    await silent.housekeeping._sweep()

    assert (await cancelling)["state"] == "cancelled"


def worker_of(services: Services) -> str:
    return services.housekeeping._membership.id


async def test_a_process_that_does_not_answer_is_not_waited_for(
    as_ana: httpx.AsyncClient, ana: Person, conversation: str, silent: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.turns.service.CANCEL_SECONDS", 0.2)
    begun = await begin(silent, ana, conversation)

    response = await as_ana.post(f"/api/turns/{begun.turn['id']}/cancel")

    assert (response.status_code, response.json()["state"]) == (202, "running")


@pytest.mark.parametrize("is_stream", [True, False])
async def test_a_connection_may_take_its_turn_with_it(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream, services: Services, is_stream: bool
) -> None:
    body = {**DRIP, "on_disconnect": "cancel", "stream": is_stream}
    posting = asyncio.create_task(live_ana.post(f"{conversation}/turns", json=body))
    await upstream.arrived.acquire()
    turn = (await live_ana.post(f"{conversation}/turns", json=DRIP)).headers["location"]
    if not is_stream:
        upstream.gate.release()
        await wait_for_delta(await services.turns.streams.open(ObjectId(turn.rpartition("/")[2])))
    posting.cancel()

    stored = await ended(services, turn)

    assert stored["state"] == "cancelled"
    assert stored["assistant_message"]["content"] == ("" if is_stream else TOKENS[0])


async def test_a_connection_that_breaks_otherwise_does_not_stop_the_turn(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream, services: Services
) -> None:
    async with streaming(live_ana, f"{conversation}/turns", DRIP) as response:
        await anext(events_of(response))
    for _ in TOKENS:
        upstream.gate.release()

    stored = await ended(services, response.headers["location"])

    assert (stored["state"], stored["assistant_message"]["content"]) == ("completed", "".join(TOKENS))


async def test_a_stream_that_was_read_to_its_end_cancels_nothing(
    live_ana: httpx.AsyncClient, conversation: str, services: Services
) -> None:
    async with streaming(live_ana, f"{conversation}/turns", {"content": "Hi", "on_disconnect": "cancel"}) as response:
        await response.aread()

    assert (await ended(services, response.headers["location"]))["state"] == "completed"


async def test_a_new_question_may_cancel_the_turn_that_runs(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    first = asyncio.create_task(live_ana.post(f"{conversation}/turns", json=DRIP))
    await upstream.arrived.acquire()
    body = {"content": "Instead", "model": "local:tokens", "when_busy": "cancel"}

    second = await live_ana.post(f"{conversation}/turns", json=body)

    assert (second.status_code, second.json()["state"]) == (201, "completed")
    assert (await first).json()["state"] == "cancelled"
    found = [(message["seq"], message["status"]) for message in await messages_of(live_ana, conversation)]
    assert found == [(1, "complete"), (2, "cancelled"), (3, "complete"), (4, "complete")]
