"""`when_busy=enqueue`: questions that wait for the answer before them, on whichever process there is."""

import asyncio
from datetime import datetime
from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.kit.repository import EVERYTHING
from app.services import Services
from app.turns import beginning
from tests.conftest import Person
from tests.streams import joined, stream
from tests.turns.conftest import begin, messages_of, new_conversation, stored_turns
from tests.upstream import TOKENS, Upstream

pytestmark = pytest.mark.mongod

DRIP = {"content": "Hi", "model": "local:drip"}
NEXT = {"content": "Next", "model": "local:tokens", "when_busy": "enqueue"}


async def busy(client: httpx.AsyncClient, conversation: str, upstream: Upstream) -> "asyncio.Task[httpx.Response]":
    """A turn that runs until `answer_it`."""
    running = asyncio.create_task(client.post(f"{conversation}/turns", json=DRIP))
    await upstream.arrived.acquire()
    return running


def answer_it(upstream: Upstream) -> None:
    for _ in TOKENS:
        upstream.gate.release()


async def until_waiting(count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        while len(waiting := [row for row in await stored_turns() if row["state"] == "queued"]) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return waiting


async def test_questions_wait_and_are_answered_in_order(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    running = await busy(live_ana, conversation, upstream)
    waiting = []
    for number in range(3):
        waiting.append(
            asyncio.create_task(live_ana.post(f"{conversation}/turns", json={**NEXT, "content": f"{number}"}))
        )
        await until_waiting(number + 1)
    assert [m["status"] for m in await messages_of(live_ana, conversation)] == ["complete", "streaming"] * 4
    answer_it(upstream)

    turns = [response.json() for response in await asyncio.gather(running, *waiting)]

    assert [turn["state"] for turn in turns] == ["completed"] * 4
    assert [turn["assistant_message"]["seq"] for turn in turns] == [2, 4, 6, 8]
    assert [request.body["messages"][-1]["content"] for request in upstream.requests] == ["Hi", "0", "1", "2"]
    assert [len(request.body["messages"]) for request in upstream.requests] == [1, 3, 5, 7]
    assert datetime.fromisoformat(turns[1]["finished_at"]) <= datetime.fromisoformat(turns[2]["started_at"])


async def test_a_stream_begins_with_the_waiting_turn_and_tells_the_answer_when_it_comes(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    running = await busy(live_ana, conversation, upstream)
    streaming = asyncio.create_task(stream(live_ana, f"{conversation}/turns", NEXT))
    await until_waiting(1)
    answer_it(upstream)

    events = await streaming

    assert events[0].data["state"] == "queued"
    assert (events[-1].event, joined(events)) == ("turn.completed", "".join(TOKENS))
    assert (await running).status_code == 201


async def test_a_free_conversation_does_not_wait(live_ana: httpx.AsyncClient, conversation: str) -> None:
    events = await stream(live_ana, f"{conversation}/turns", NEXT)

    assert events[0].data["state"] == "running"


async def test_a_waiting_turn_with_its_key_is_one_turn(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    key = {"Idempotency-Key": "once"}
    running = await busy(live_ana, conversation, upstream)
    posts = [asyncio.create_task(live_ana.post(f"{conversation}/turns", json=NEXT, headers=key)) for _ in range(5)]
    await until_waiting(1)
    answer_it(upstream)

    responses = await asyncio.gather(*posts)

    assert len({response.json()["id"] for response in responses}) == 1
    assert (await running).status_code == 201
    assert len(await stored_turns()) == len(upstream.requests) == 2


async def test_a_waiting_turn_can_be_cancelled(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    running = await busy(live_ana, conversation, upstream)
    posts = [asyncio.create_task(live_ana.post(f"{conversation}/turns", json=NEXT)) for _ in range(2)]
    waiting = await until_waiting(2)
    first = min(waiting, key=lambda row: int(row["answer_seq"]))

    cancelled = await live_ana.post(f"/api/turns/{first['_id']}/cancel")
    answer_it(upstream)
    turns = [response.json() for response in await asyncio.gather(running, *posts)]

    assert cancelled.json()["state"] == "cancelled"
    assert cancelled.json()["assistant_message"]["status"] == "cancelled"
    assert sorted(turn["state"] for turn in turns) == ["cancelled", "completed", "completed"]
    assert len(upstream.requests) == 2
    assert [m["seq"] for m in await messages_of(live_ana, conversation)] == [1, 2, 3, 4, 5, 6]


async def test_the_next_one_runs_when_the_first_is_cancelled_or_fails(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    running = await busy(live_ana, conversation, upstream)
    failing = asyncio.create_task(live_ana.post(f"{conversation}/turns", json={**NEXT, "model": "local:500"}))
    await until_waiting(1)
    following = asyncio.create_task(live_ana.post(f"{conversation}/turns", json=NEXT))
    await until_waiting(2)
    location = (await live_ana.post(f"{conversation}/turns", json=DRIP)).headers["location"]

    await live_ana.post(f"{location}/cancel")

    assert (await running).json()["state"] == "cancelled"
    assert (await failing).status_code == 502
    assert (await following).json()["state"] == "completed"


async def test_no_more_than_so_many_wait(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beginning, "MAX_WAITING", 2)
    running = await busy(live_ana, conversation, upstream)
    posts = [asyncio.create_task(live_ana.post(f"{conversation}/turns", json=NEXT)) for _ in range(2)]
    await until_waiting(2)

    refused = await live_ana.post(f"{conversation}/turns", json=NEXT)
    answer_it(upstream)

    assert (refused.status_code, refused.json()["code"]) == (409, "turn_in_progress")
    assert {(await post).status_code for post in [running, *posts]} == {201}


async def test_nobody_overtakes_those_who_wait(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    running = await busy(live_ana, conversation, upstream)
    posts = [asyncio.create_task(live_ana.post(f"{conversation}/turns", json=NEXT)) for _ in range(3)]
    await until_waiting(3)
    intruding = True

    async def intrude() -> set[int]:
        statuses = set()
        while intruding:
            statuses.add((await live_ana.post(f"{conversation}/turns", json={"content": "Me!"})).status_code)
        return statuses

    intruder = asyncio.create_task(intrude())
    answer_it(upstream)
    turns = [response.json() for response in await asyncio.gather(*posts)]
    intruding = False

    assert await intruder <= {201, 409}
    assert sorted(turn["assistant_message"]["seq"] for turn in turns) == [4, 6, 8]
    assert (await running).status_code == 201


async def test_a_turn_that_waits_goes_on_when_its_process_is_gone(
    ana: Person, conversation: str, silent: Services, other: Services, upstream: Upstream
) -> None:
    first = await begin(silent, ana, conversation)
    waiting = await begin(silent, ana, conversation, **NEXT)
    following = await other.turns.streams.open(waiting.turn["id"])
    silent.turns.runner.stop()  # what it runs is interrupted, and it begins nothing more

    outcome = await other.turns.outcome(waiting.turn)

    assert (await silent.turns.outcome(first.turn))["state"] == "interrupted"
    assert (waiting.turn["state"], outcome["state"]) == ("queued", "completed")
    assert outcome["assistant_message"]["content"] == "".join(TOKENS)
    await following.aclose()


async def test_a_turn_that_waited_here_and_runs_here_is_told_to_who_followed_it_before(
    ana: Person, conversation: str, silent: Services, upstream: Upstream
) -> None:
    """The change feed does not bring a process its own events."""
    first = await begin(silent, ana, conversation)
    waiting = await begin(silent, ana, conversation, **NEXT)
    following = asyncio.create_task(silent.turns.outcome(waiting.turn))
    await asyncio.sleep(0)
    answer_it(upstream)

    assert (await silent.turns.outcome(first.turn))["state"] == "completed"
    assert (await following)["state"] == "completed"


async def test_what_depends_on_the_last_message_cannot_wait(live_ana: httpx.AsyncClient, upstream: Upstream) -> None:
    conversation = await new_conversation(live_ana)
    turn = (await live_ana.post(f"{conversation}/turns", json={"content": "Hi"})).json()
    running = await busy(live_ana, conversation, upstream)

    edit = {**NEXT, "replaces": turn["user_message"]["id"]}
    statuses = [
        (await live_ana.post(f"{conversation}/turns", json=edit)).status_code,
        (await live_ana.post(f"{conversation}/regenerate", json={})).status_code,
        (await live_ana.post(f"{conversation}/regenerate", json={"when_busy": "enqueue"})).status_code,
    ]
    answer_it(upstream)

    assert statuses == [409, 409, 422]
    assert (await running).status_code == 201


async def test_a_purge_takes_the_waiting_ones_too(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream, services: Services
) -> None:
    running = await busy(live_ana, conversation, upstream)
    post = asyncio.create_task(live_ana.post(f"{conversation}/turns", json=NEXT))
    await until_waiting(1)

    await services.privacy.purging.purge(EVERYTHING, ObjectId(conversation.rpartition("/")[2]))

    assert {(await each).json().get("state") for each in (running, post)} == {"cancelled"}
    assert await stored_turns() == []
    assert len(upstream.requests) == 1
