"""A server that is killed in the middle of an answer: nothing that anybody saw is lost, and life goes on."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import ServerProcess
from tests.streams import Received, events_of, joined, streaming
from tests.turns.conftest import messages_of, new_conversation
from tests.upstream import Upstream, answer

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

LEASE = 2.0
WORDS = [f"word{number} 词 " for number in range(1000)]
BODY = {"content": "Hi", "model": "local:words"}
KEY = {"Idempotency-Key": "once"}


async def _see_some(client: httpx.AsyncClient, conversation: str, upstream: Upstream, server: ServerProcess) -> str:
    """What a client has seen of an answer when its server is killed."""
    seen: list[Received] = []
    with suppress(httpx.HTTPError):
        async with streaming(client, f"{conversation}/turns", BODY, **KEY) as response:
            async for event in events_of(response):
                seen.append(event)
                upstream.gate.release()
                if len(seen) > 10:
                    server.kill()
        pytest.fail("a stream that was broken off must not look complete")
    assert joined(seen)
    return joined(seen)


async def _answer(client: httpx.AsyncClient, conversation: str) -> dict[str, Any]:
    """The answer once it is no longer streaming."""
    async with asyncio.timeout(30):
        while (stored := (await messages_of(client, conversation))[1])["status"] == "streaming":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return stored


async def test_a_killed_server_loses_no_word_that_was_seen(
    tmp_path: Path, shared: dict[str, Any], upstream: Upstream
) -> None:
    upstream.script["words"] = answer(WORDS, paced=True)
    async with ServerProcess(tmp_path / "a", turn_lease=LEASE, **shared) as server, server.client() as client:
        conversation = await new_conversation(client)
        seen = await _see_some(client, conversation, upstream, server)
    killed_at = time.monotonic()

    async with ServerProcess(tmp_path / "b", turn_lease=LEASE, **shared) as server, server.client() as client:
        started = time.monotonic() - killed_at
        stored = await _answer(client, conversation)
        elapsed = time.monotonic() - killed_at
        turn = (await client.get(f"/api/turns/{stored['turn_id']}")).json()
        repeated = await client.post(f"{conversation}/turns", json=BODY, headers=KEY)
        following = await client.post(f"{conversation}/turns", json={"content": "Again"})

    assert (stored["status"], turn["state"], turn["error"]["code"]) == ("interrupted", "interrupted", "server_died")
    assert stored["content"].startswith(seen)
    assert "".join(WORDS).startswith(stored["content"])
    assert elapsed < max(LEASE, started) + LEASE / 3 * 1.2 + 1
    assert (repeated.status_code, repeated.json()["turn"]) == (503, turn)
    assert repeated.headers["idempotency-replayed"] == "true"
    assert len(upstream.requests) == 1
    assert following.status_code == 201
    assert following.json()["assistant_message"]["seq"] == 4
