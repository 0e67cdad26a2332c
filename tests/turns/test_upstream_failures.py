"""The table of docs/upstream-failures.md, row by row: what clients see and what is stored."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from app.config import Settings
from app.upstream_settings import ProviderSettings
from tests.conftest import DATABASE
from tests.streams import joined, stream
from tests.turns.conftest import messages_of
from tests.upstream import SCRIPT, Exchange, Upstream, chunk, event, in_turn, refuse

pytestmark = pytest.mark.mongod

PAGE = Path(__file__).parents[2] / "docs/upstream-failures.md"
ROWS = [
    [cell.strip().strip("`") for cell in line.split("|")[2:-1]]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| upstream |")
]


async def drip(exchange: Exchange) -> web.StreamResponse:
    response = await exchange.begin()
    while True:
        await response.write(event(chunk("word ")))
        await asyncio.sleep(0.05)


@pytest.fixture
def upstream(upstream: Upstream) -> Upstream:
    upstream.script["slow-drip"] = drip
    upstream.script["429-then-tokens"] = in_turn(refuse(429, retry_after="0.01"), SCRIPT["tokens"])
    upstream.script["500-then-tokens"] = in_turn(refuse(500), refuse(500), SCRIPT["tokens"])
    return upstream


@pytest.fixture
def settings(tmp_path: Path, upstream: Upstream) -> Settings:
    provider = ProviderSettings.model_validate(
        {
            "base_url": upstream.base_url,
            "api_key": "sk-upstream",
            "first_token_timeout": 0.3,
            "idle_timeout": 0.3,
            "total_timeout": 1.5,
            "retry_backoff": 0,
            "max_retry_wait": 1,
            "breaker_failures": 1000,
        }
    )
    return Settings(_env_file=None, data=tmp_path, database=DATABASE, drain_timeout=1, llm_providers={"up": provider})


def test_the_table_is_read() -> None:
    assert len(ROWS) > 20
    assert all(len(row) == 7 for row in ROWS)


async def _check_stored(client: httpx.AsyncClient, conversation: str, row: list[str], shown: str) -> None:
    _, _, _, _, text, status, code = row
    question, answer = await messages_of(client, conversation)
    assert (question["content"], question["status"]) == ("Hi", "complete")
    assert answer["content"] == (shown if text.startswith("as far") else text)
    assert answer["status"] == status
    assert (answer["error"] or {}).get("code", "") == code
    assert "sk-upstream" not in str(answer)
    following = await client.post(f"{conversation}/turns", json={"content": "Again", "model": "up:tokens"})
    assert following.status_code == 201


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
async def test_a_client_that_waits(
    as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream, row: list[str]
) -> None:
    script, calls, status, _, _, _, code = row

    response = await as_ana.post(f"{conversation}/turns", json={"content": "Hi", "model": f"up:{script}"})

    assert response.status_code == int(status)
    assert len(upstream.requests) == int(calls)
    body: dict[str, Any] = response.json()
    turn = body if response.status_code == 201 else body["turn"]
    assert body.get("reason", "") == code
    assert len(turn["attempts"]) == (int(calls) if not turn["assistant_message"]["content"] else int(calls) - 1)
    await _check_stored(as_ana, conversation, row, turn["assistant_message"]["content"])


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
async def test_a_client_that_reads_the_stream(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream, row: list[str]
) -> None:
    events = await stream(live_ana, f"{conversation}/turns", {"content": "Hi", "model": f"up:{row[0]}"})

    assert events[-1].event == row[3]
    assert events[-1].data["assistant_message"]["content"] == joined(events)
    assert len(upstream.requests) == int(row[1])
    await _check_stored(live_ana, conversation, row, joined(events))
