"""Two servers on one database behave as one."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from tests.processes import ServerProcess
from tests.streams import events_of, joined, stream, streaming
from tests.turns.conftest import messages_of, new_conversation
from tests.upstream import TOKENS, Upstream

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


async def test_a_conversation_that_one_answers_is_busy_on_the_other(
    clients: list[httpx.AsyncClient], upstream: Upstream
) -> None:
    a, b = clients
    conversation = await new_conversation(a)
    key = {"Idempotency-Key": "once"}
    async with streaming(a, f"{conversation}/turns", DRIP, **key) as response:
        events = events_of(response)
        started = (await anext(events)).data
        for headers in ({}, key):
            busy = await b.post(f"{conversation}/turns", json=DRIP, headers=headers)
            assert busy.status_code == 409
            assert busy.json()["code"] == "turn_in_progress"
            assert busy.headers["location"] == response.headers["location"]
        assert (await b.get(busy.headers["location"])).json() == started
        for _ in TOKENS:
            upstream.gate.release()
        completed = [event async for event in events][-1].data

    again = await b.post(f"{conversation}/turns", json=DRIP, headers=key)
    assert (again.status_code, again.json()) == (201, completed)
    assert again.headers["idempotency-replayed"] == "true"
    assert len(upstream.requests) == 1


async def test_equal_turns_at_once_on_both_make_one(clients: list[httpx.AsyncClient], upstream: Upstream) -> None:
    conversation = await new_conversation(clients[0])
    body = {"content": "Hi", "model": "local:tokens"}
    key = {"Idempotency-Key": "once"}

    posts = [client.post(f"{conversation}/turns", json=body, headers=key) for client in clients * 10]
    responses = await asyncio.gather(*posts)

    assert {response.status_code for response in responses} <= {201, 409}
    assert len({response.headers["location"] for response in responses}) == 1
    assert len(upstream.requests) == 1
    assert [message["seq"] for message in await messages_of(clients[0], conversation)] == [1, 2]


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
