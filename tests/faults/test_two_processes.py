"""Two servers on one database behave as one."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.processes import ServerProcess
from tests.streams import Received, events_of, joined, stream, streaming
from tests.turns.conftest import messages_of, new_conversation
from tests.upstream import TOKENS, Upstream, answer

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

DRIP = {"content": "Hi", "model": "local:drip"}
REVOCATION_SECONDS = 1.5


@pytest.fixture(scope="module")
async def servers(
    tmp_path_factory: pytest.TempPathFactory, shared: dict[str, Any]
) -> AsyncIterator[list[ServerProcess]]:
    """Two servers that were started at the same time, as after a deployment."""
    async with AsyncExitStack() as stack:
        both = [ServerProcess(tmp_path_factory.mktemp(name), **shared) for name in "ab"]
        yield list(await asyncio.gather(*(stack.enter_async_context(server) for server in both)))


@pytest.fixture
async def clients(servers: list[ServerProcess]) -> AsyncIterator[list[httpx.AsyncClient]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(server.client()) for server in servers]


async def test_what_one_writes_the_other_reads_changes_and_answers(clients: list[httpx.AsyncClient]) -> None:
    a, b = clients
    created = await a.post("/api/conversations", json={"title": "from a"})
    path, etag = created.headers["location"], created.headers["etag"]

    assert (await b.get(path)).json() == created.json()
    patched = await b.patch(path, json={"title": "from b"}, headers={"If-Match": etag})
    assert patched.status_code == 200
    stale = await a.patch(path, json={"title": "again from a"}, headers={"If-Match": etag})
    assert (stale.status_code, stale.json()["current"]["title"]) == (412, "from b")
    events = await stream(b, f"{path}/turns", {"content": "Hello"})
    assert joined(events) == (await messages_of(a, path))[1]["content"] == "Hello"


async def test_a_conversation_that_one_answers_is_busy_on_the_other_and_its_key_finds_it_there(
    clients: list[httpx.AsyncClient], upstream: Upstream
) -> None:
    a, b = clients
    conversation = await new_conversation(a)
    key = {"Idempotency-Key": "once"}
    async with streaming(a, f"{conversation}/turns", DRIP, **key) as response:
        events = events_of(response)
        started = (await anext(events)).data
        busy = await b.post(f"{conversation}/turns", json=DRIP)
        assert (busy.status_code, busy.json()["code"]) == (409, "turn_in_progress")
        assert busy.headers["location"] == response.headers["location"]
        assert (await b.get(busy.headers["location"])).json() == started
        as_stream = asyncio.create_task(stream(b, f"{conversation}/turns", DRIP, **key))
        as_json = asyncio.create_task(b.post(f"{conversation}/turns", json=DRIP, headers=key))
        for _ in TOKENS:
            upstream.gate.release()
        rest = [event async for event in events]

    assert (await as_stream)[1:] == rest
    again = await as_json
    assert (again.status_code, again.json()) == (201, rest[-1].data)
    assert again.headers["idempotency-replayed"] == "true"
    assert len(upstream.requests) == 1


async def test_a_turn_that_one_runs_the_other_follows_and_cancels(
    clients: list[httpx.AsyncClient], upstream: Upstream
) -> None:
    a, b = clients
    conversation = await new_conversation(a)
    async with streaming(a, f"{conversation}/turns", DRIP) as here:
        location = here.headers["location"]
        async with b.stream("GET", f"{location}/events") as there:
            both = events_of(here), events_of(there)
            started = [await anext(events) for events in both]
            upstream.gate.release()
            deltas = [await anext(events) for events in both]
            asked_at = time.monotonic()
            cancelled = await b.post(f"{location}/cancel")
            elapsed = time.monotonic() - asked_at
            ends = [[event async for event in events] for events in both]

    assert started[0] == started[1]
    assert deltas[0] == deltas[1]
    assert elapsed < 1
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert cancelled.json()["assistant_message"]["content"] == TOKENS[0]
    assert ends[0] == ends[1]
    assert ends[0][0].data == cancelled.json()


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_stream_that_breaks_on_one_goes_on_on_the_other(
    clients: list[httpx.AsyncClient], upstream: Upstream, after: int
) -> None:
    a, b = clients
    conversation = await new_conversation(a)
    seen: list[Received] = []
    async with streaming(a, f"{conversation}/turns", DRIP) as response:
        events = events_of(response)
        for _ in range(after):
            upstream.gate.release()
            seen.append(await anext(events))
    for _ in TOKENS:
        upstream.gate.release()

    async with b.stream("GET", f"{response.headers['location']}/events", headers={"Last-Event-ID": str(after)}) as rest:
        seen += [event async for event in events_of(rest)]

    assert [event.id for event in seen] == list(range(1, len(seen) + 1))
    assert joined(seen) == seen[-1].data["assistant_message"]["content"] == "".join(TOKENS)


async def test_the_other_sees_a_word_soon_after_the_first(clients: list[httpx.AsyncClient], upstream: Upstream) -> None:
    """What the two see is compared word by word; how long it takes is what `make bench` measures."""
    a, b = clients
    words = [f"{number} " for number in range(200)]
    upstream.script["words"] = answer(words, paced=True)
    conversation = await new_conversation(a)
    async with (
        streaming(a, f"{conversation}/turns", {**DRIP, "model": "local:words"}) as here,
        b.stream("GET", f"{here.headers['location']}/events") as there,
    ):
        both = events_of(here), events_of(there)
        for _ in words:
            upstream.gate.release()
        told = await asyncio.gather(*(_all(events) for events in both))

    assert told[0] == told[1]
    assert joined(told[0]) == "".join(words)


async def _all(events: AsyncIterator[Received]) -> list[Received]:
    return [event async for event in events]


async def test_equal_turns_at_once_on_both_make_one(clients: list[httpx.AsyncClient], upstream: Upstream) -> None:
    conversation = await new_conversation(clients[0])
    body = {"content": "Hi", "model": "local:tokens"}
    key = {"Idempotency-Key": "once"}

    posts = [client.post(f"{conversation}/turns", json=body, headers=key) for client in clients * 10]
    responses = await asyncio.gather(*posts)

    assert {response.status_code for response in responses} == {201}
    assert len({response.text for response in responses}) == 1
    assert len([response for response in responses if "idempotency-replayed" not in response.headers]) == 1
    assert len(upstream.requests) == 1
    assert [message["seq"] for message in await messages_of(clients[0], conversation)] == [1, 2]


async def test_questions_that_wait_on_both_are_answered_in_order(
    clients: list[httpx.AsyncClient], upstream: Upstream
) -> None:
    conversation = await new_conversation(clients[0])
    running = asyncio.create_task(clients[0].post(f"{conversation}/turns", json=DRIP))
    await upstream.arrived.acquire()
    body = {"content": "Next", "model": "local:tokens", "when_busy": "enqueue"}
    posts = [asyncio.create_task(client.post(f"{conversation}/turns", json=body)) for client in clients * 4]
    async with asyncio.timeout(30):
        while (await clients[0].get(conversation)).json()["last_seq"] < 18:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    for _ in TOKENS:
        upstream.gate.release()

    turns = [response.json() for response in await asyncio.gather(running, *posts)]

    assert {turn["state"] for turn in turns} == {"completed"}
    in_order = sorted(turns, key=lambda turn: int(turn["assistant_message"]["seq"]))
    finished = [datetime.fromisoformat(turn["finished_at"]) for turn in in_order]
    assert finished == sorted(finished)
    assert [len(request.body["messages"]) for request in upstream.requests] == list(range(1, 18, 2))


async def test_turns_and_appends_on_both_keep_the_numbers_gapless(clients: list[httpx.AsyncClient]) -> None:
    conversation = await new_conversation(clients[0])
    note = {"role": "user", "content": "note"}

    responses = await asyncio.gather(
        *(client.post(f"{conversation}/messages", json=note) for client in clients * 15),
        *(client.post(f"{conversation}/turns", json={"content": "Hi"}) for client in clients),
    )

    assert {response.status_code for response in responses[:-2]} == {201}
    turns = [response.status_code for response in responses[-2:]]
    assert set(turns) <= {201, 409}
    expected = 30 + 2 * turns.count(201)
    assert [message["seq"] for message in await messages_of(clients[0], conversation)] == list(range(1, expected + 1))


async def test_a_key_that_one_revokes_the_other_refuses_within_a_second(
    servers: list[ServerProcess], clients: list[httpx.AsyncClient]
) -> None:
    made = (await clients[0].post("/api/keys", json={"name": "short-lived"})).json()
    async with servers[1].client(made["key"]) as client:
        assert (await client.get("/api/users/me")).status_code == 200
        revoked = await clients[0].delete(f"/api/keys/{made['id']}")
        assert revoked.status_code == 204
        revoked_at = time.monotonic()
        while (await client.get("/api/users/me")).status_code == 200:
            assert time.monotonic() - revoked_at < REVOCATION_SECONDS
        assert (await client.get("/api/users/me")).status_code == 401
