"""Each line of the log says what it belongs to: the request, who asked, the turn, and nothing of what was said."""

import asyncio
import io
import json
from typing import Any

import httpx
import pytest

from tests.conftest import Person
from tests.turns.conftest import new_conversation, stored_turns
from tests.turns.test_queued_turns import until_waiting
from tests.upstream import TOKENS, Upstream

pytestmark = pytest.mark.mongod

WORDS = "what-only-the-database-knows"


def _read(lines: io.StringIO, event: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, lines.getvalue().splitlines()) if line["event"] == event]


async def test_lines_of_a_turn_name_it_its_request_and_who_asked(
    lines: io.StringIO, as_ana: httpx.AsyncClient, ana: Person, upstream: Upstream
) -> None:
    conversation = await new_conversation(as_ana)
    body = {"content": WORDS, "model": "local:500"}
    answer = await as_ana.post(f"{conversation}/turns", json=body, headers={"X-Request-Id": "req-of-ana"})
    (turn,) = await stored_turns()

    assert answer.status_code == 502
    (attempt,) = _read(lines, "llm_attempt_failed")
    (request,) = [line for line in _read(lines, "request") if line["path"].endswith("/turns") and line["status"] == 502]
    assert (attempt["request_id"], attempt["principal_id"], attempt["turn_id"]) == (
        "req-of-ana",
        str(ana.id),
        str(turn["_id"]),
    )
    assert (request["request_id"], request["principal_id"]) == ("req-of-ana", str(ana.id))
    assert "turn_id" not in request
    assert WORDS not in lines.getvalue()


async def test_a_turn_that_waited_is_not_logged_as_a_part_of_the_one_before(
    lines: io.StringIO, as_ana: httpx.AsyncClient, ana: Person, upstream: Upstream
) -> None:
    conversation = await new_conversation(as_ana)
    asked = {"content": "1", "model": "local:drip"}
    first = asyncio.create_task(as_ana.post(f"{conversation}/turns", json=asked, headers={"X-Request-Id": "first"}))
    await upstream.arrived.acquire()
    asked = {"content": "2", "model": "local:500", "when_busy": "enqueue"}
    second = asyncio.create_task(as_ana.post(f"{conversation}/turns", json=asked))
    (waiting,) = await until_waiting(1)
    for _ in TOKENS:
        upstream.gate.release()
    await asyncio.gather(first, second)

    (attempt,) = _read(lines, "llm_attempt_failed")
    assert (attempt["turn_id"], attempt["principal_id"]) == (str(waiting["_id"]), str(ana.id))
    assert "request_id" not in attempt
