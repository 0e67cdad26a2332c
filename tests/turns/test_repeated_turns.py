"""`Idempotency-Key`: one turn, however often it is asked for."""

import asyncio
from typing import Any

import httpx
import pytest

from app.kit.repository import Row
from app.services import Services
from tests.streams import events_of, joined, stream, streaming
from tests.turns.conftest import ended, messages_of, new_conversation, stored_turns
from tests.upstream import TOKENS, Upstream, answer

pytestmark = pytest.mark.mongod

KEY = {"Idempotency-Key": "key-1"}
HI = {"content": "Hi", "model": "local:drip"}


async def test_a_repeated_turn_answers_the_same_and_says_so(as_ana: httpx.AsyncClient, conversation: str) -> None:
    first = await as_ana.post(f"{conversation}/turns", json={"content": "Hi"}, headers=KEY)
    second = await as_ana.post(f"{conversation}/turns", json={"content": "Hi"}, headers=KEY)

    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert [response.headers.get("idempotency-replayed") for response in (first, second)] == [None, "true"]
    assert len(await messages_of(as_ana, conversation)) == 2


async def test_a_finished_turn_is_streamed_again_with_the_same_numbers(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    path = f"{conversation}/turns"
    async with streaming(live_ana, path, HI, **KEY) as response:
        first = []
        async for event in events_of(response):
            first.append(event)
            upstream.gate.release()
    async with streaming(live_ana, path, HI, **KEY) as response:
        assert response.headers["idempotency-replayed"] == "true"
    second = await stream(live_ana, path, HI, **KEY)

    assert second[1:] == first[1:]
    assert len(first) == len(TOKENS) + 2
    as_json = await live_ana.post(path, json=HI, headers=KEY)
    assert as_json.json() == first[-1].data
    assert len(upstream.requests) == 1


async def test_the_answer_is_streamed_again_after_its_log_has_expired(
    live_ana: httpx.AsyncClient, conversation: str, services: Services
) -> None:
    first = await stream(live_ana, f"{conversation}/turns", {"content": "one two three"}, **KEY)
    await services.database.client[services.database.name]["turn_events"].delete_many({})

    second = await stream(live_ana, f"{conversation}/turns", {"content": "one two three"}, **KEY)

    assert joined(second) == joined(first) == "one two three"
    assert [event.event for event in second] == ["turn.started", "delta", "turn.completed"]


async def test_a_running_turn_is_joined_and_both_get_all_of_it(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    path = f"{conversation}/turns"
    async with streaming(live_ana, path, HI, **KEY) as response:
        one = events_of(response)
        first = [await anext(one)]
        upstream.gate.release()
        first.append(await anext(one))
        second = asyncio.create_task(stream(live_ana, path, HI, **KEY))
        as_json = asyncio.create_task(live_ana.post(path, json=HI, headers=KEY))
        for _ in TOKENS[1:]:
            upstream.gate.release()
        first += [event async for event in one]

    assert joined(await second) == joined(first) == "".join(TOKENS)
    assert (await second)[-1] == first[-1]
    assert (await as_json).json() == first[-1].data
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("is_stream", [False, True])
async def test_twenty_equal_requests_at_once_make_one_turn(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream, is_stream: bool
) -> None:
    for _ in TOKENS:
        upstream.gate.release()
    body = {**HI, "stream": is_stream}
    posts = [live_ana.post(f"{conversation}/turns", json=body, headers=KEY) for _ in range(20)]

    responses = await asyncio.gather(*posts)

    assert {response.status_code for response in responses} == {200 if is_stream else 201}
    assert len({response.headers["location"] for response in responses}) == 1
    assert len([response for response in responses if "idempotency-replayed" not in response.headers]) == 1
    assert len(upstream.requests) == len(await stored_turns()) == 1
    assert [message["seq"] for message in await messages_of(live_ana, conversation)] == [1, 2]


async def test_twenty_different_requests_with_one_key_make_one_turn(
    as_ana: httpx.AsyncClient, conversation: str
) -> None:
    posts = [as_ana.post(f"{conversation}/turns", json={"content": f"Hi {n}"}, headers=KEY) for n in range(20)]

    statuses = sorted([response.status_code for response in await asyncio.gather(*posts)])

    assert statuses == [201] + [422] * 19
    assert len(await stored_turns()) == 1


async def test_a_key_that_came_with_another_question_is_refused(as_ana: httpx.AsyncClient, conversation: str) -> None:
    await as_ana.post(f"{conversation}/turns", json={"content": "Hi"}, headers=KEY)

    other = await as_ana.post(f"{conversation}/turns", json={"content": "Ho"}, headers=KEY)

    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"
    assert len(await messages_of(as_ana, conversation)) == 2


async def test_a_failed_turn_is_answered_again_not_tried_again(
    as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    body = {"content": "Hi", "model": "local:500"}
    first = await as_ana.post(f"{conversation}/turns", json=body, headers=KEY)
    second = await as_ana.post(f"{conversation}/turns", json=body, headers=KEY)

    assert (first.status_code, second.status_code) == (502, 502)
    assert second.json()["turn"] == first.json()["turn"]
    assert second.headers["idempotency-replayed"] == "true"
    assert len(upstream.requests) == 1


async def test_keys_of_other_people_and_other_conversations_are_other_keys(
    as_ana: httpx.AsyncClient, as_admin: httpx.AsyncClient, conversation: str
) -> None:
    other = await new_conversation(as_ana)
    posts = [(as_ana, conversation), (as_admin, conversation), (as_ana, other)]

    responses = [await client.post(f"{path}/turns", json={"content": "Hi"}, headers=KEY) for client, path in posts]

    assert [response.status_code for response in responses] == [201, 201, 201]
    assert len({response.headers["location"] for response in responses}) == 3


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_that_cannot_be_one_is_refused(as_ana: httpx.AsyncClient, conversation: str, key: str) -> None:
    response = await as_ana.post(f"{conversation}/turns", json={"content": "Hi"}, headers={"Idempotency-Key": key})

    assert response.status_code == 422
    assert "idempotency-key" in response.json()["fields"][0]["field"].lower()
    assert await messages_of(as_ana, conversation) == []


async def test_a_key_is_no_way_to_somebody_elses_turn(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, conversation: str, services: Services
) -> None:
    first = await as_ana.post(f"{conversation}/turns", json={"content": "Hi"}, headers=KEY)
    await ended(services, first.headers["location"])

    assert (await as_ben.post(f"{conversation}/turns", json={"content": "Hi"}, headers=KEY)).status_code == 404


async def test_what_stands_in_the_way_of_a_repeated_request_may_be_its_own_turn(
    as_ana: httpx.AsyncClient,
    conversation: str,
    upstream: Upstream,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process was killed between its commit and its answer; the next one looked for the key before the commit."""
    failed = await as_ana.post(f"{conversation}/turns", json={"content": "Hi", "model": "local:500"})
    upstream.script["500"] = answer(["Now"])
    first = await as_ana.post(f"{failed.headers['location']}/retry", headers=KEY)
    find, looked = services.turns.rows.find_by_key, 0

    async def find_late(*arguments: Any) -> Row | None:
        nonlocal looked
        looked += 1
        return None if looked == 1 else await find(*arguments)

    monkeypatch.setattr(services.turns.rows, "find_by_key", find_late)
    second = await as_ana.post(f"{failed.headers['location']}/retry", headers=KEY)

    assert (first.status_code, second.status_code) == (201, 201), second.text
    assert second.json() == first.json()
    assert looked == 2
