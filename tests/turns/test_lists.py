"""Turns as a list and as a file: what they used, cost and took."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.config import Settings
from app.kit.clock import now
from app.services import Services
from app.turns.finisher import Outcome, _end_of
from app.turns.resource import TURNS
from app.turns.schemas import TurnBrief
from tests.conftest import Person
from tests.exports.files import column, export, read_csv, read_jsonl
from tests.turns.conftest import begin, ended, new_conversation
from tests.upstream import TOKENS, Upstream

pytestmark = pytest.mark.mongod


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """`local:500` fails, and then `local:tokens` answers, which has a price."""
    return settings.model_copy(
        update={
            "llm_fallbacks": {"local:500": ["local:tokens"]},
            "llm_prices": Settings(
                _env_file=None, llm_prices={"local:tokens": {"prompt": 1, "completion": 2}}
            ).llm_prices,
        }
    )


async def say(client: httpx.AsyncClient, conversation: str, model: str) -> dict[str, Any]:
    response = await client.post(f"{conversation}/turns", json={"content": "Hi", "model": model})
    return dict(response.json().get("turn") or response.json())


def let_speak(upstream: Upstream) -> None:
    """The model says all that it says."""
    for _ in TOKENS:
        upstream.gate.release()


async def listed(client: httpx.AsyncClient, **parameters: str) -> list[dict[str, Any]]:
    response = await client.get("/api/turns", params=parameters)
    assert response.status_code == 200, response.text
    return list(response.json()["items"])


async def test_a_turn_tells_who_answered_and_what_that_took(as_ana: httpx.AsyncClient, conversation: str) -> None:
    turn = await say(as_ana, conversation, "local:500")
    [item] = await listed(as_ana)

    answer, question = turn.pop("assistant_message"), turn.pop("user_message")
    assert item == {**turn, "assistant_message_id": answer["id"], "user_message_id": question["id"]}
    assert list(item) == list(TURNS.members)
    assert item.keys() == TurnBrief.model_fields.keys()
    assert (item["model"], item["served_model"], item["provider"]) == ("local:500", "local:tokens", "local")
    assert (answer["model"], answer["provider"]) == ("local:tokens", "local")
    assert item["failed_attempts"] == len(item["attempts"]) == 1
    assert item["cost"] == answer["cost"] == pytest.approx((5 * 1 + 4 * 2) / 1e6)
    assert 0 <= item["first_token_ms"] <= item["total_ms"]


async def test_a_turn_that_fails_has_no_cost_and_no_first_token(as_ana: httpx.AsyncClient, conversation: str) -> None:
    await say(as_ana, conversation, "local:401")
    [item] = await listed(as_ana, **{"error.code": "upstream_rejected"})

    assert (item["state"], item["usage"], item["cost"], item["first_token_ms"]) == ("failed", None, None, None)
    assert (item["served_model"], item["provider"], item["failed_attempts"]) == (None, "local", 1)
    assert item["total_ms"] >= 0


async def test_waiting_behind_another_turn_does_not_count(
    services: Services, as_ana: httpx.AsyncClient, ana: Person, conversation: str, upstream: Upstream
) -> None:
    first = await begin(services, ana, conversation)
    second = await begin(services, ana, conversation, model="local:tokens", when_busy="enqueue")
    [waiting] = await listed(as_ana, state="queued")
    assert (waiting["id"], waiting["started_at"], waiting["total_ms"]) == (str(second.turn["id"]), None, None)

    let_speak(upstream)
    for begun in (first, second):
        await ended(services, f"/api/turns/{begun.turn['id']}")
    turn = (await as_ana.get(f"/api/turns/{second.turn['id']}")).json()
    row = await services.turns.rows.find_stored({"_id": ObjectId(turn["id"])})

    assert row is not None
    assert row["started_at"] > row["created_at"]
    assert row["total_ms"] == int((row["finished_at"] - row["started_at"]).total_seconds() * 1000)


async def test_a_turn_that_never_ran_took_no_time(
    services: Services, as_ana: httpx.AsyncClient, ana: Person, conversation: str, upstream: Upstream
) -> None:
    await begin(services, ana, conversation)
    second = await begin(services, ana, conversation, when_busy="enqueue")
    await as_ana.post(f"/api/turns/{second.turn['id']}/cancel")
    [item] = await listed(as_ana, state="cancelled")

    assert (item["total_ms"], item["first_token_ms"], item["provider"]) == (None, None, None)
    assert item["finished_at"] is not None
    let_speak(upstream)


def test_a_clock_that_runs_behind_makes_no_negative_time() -> None:
    instant = now()
    turn = {"started_at": instant + timedelta(seconds=1)}

    end = _end_of(turn, Outcome("interrupted", "", first_token_at=instant), instant)

    assert (end["first_token_ms"], end["total_ms"]) == (0, 0)


async def test_each_sees_their_own(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, as_analyst: httpx.AsyncClient, ana: Person, conversation: str
) -> None:
    turn = await say(as_ana, conversation, "echo")

    assert [item["id"] for item in await listed(as_ana)] == [turn["id"]]
    assert [item["id"] for item in await listed(as_analyst, owner_id=str(ana.id))] == [turn["id"]]
    assert await listed(as_ben) == await listed(as_ben, id=turn["id"]) == []


async def test_filters_order_and_pages(as_ana: httpx.AsyncClient) -> None:
    for model in ("echo", "local:tokens", "echo", "local:401", "local:no-usage"):
        await say(as_ana, await new_conversation(as_ana), model)

    assert len(await listed(as_ana, model="echo")) == 2
    assert len(await listed(as_ana, provider="local", state="completed")) == 2
    assert len(await listed(as_ana, **{"usage.total__gte": "1", "state__ne": "failed"})) == 4
    assert [item["model"] for item in await listed(as_ana, failed_attempts__gte="1")] == ["local:401"]
    assert [item["usage"]["estimated"] for item in await listed(as_ana, model="local:no-usage")] == [True]
    slowest = await listed(as_ana, sort="-total_ms")
    assert [item["total_ms"] for item in slowest] == sorted((item["total_ms"] for item in slowest), reverse=True)
    page = (await as_ana.get("/api/turns", params={"limit": 2, "fields": "model,usage"})).json()
    assert [item.keys() for item in page["items"]] == [{"id", "model", "usage"}] * 2
    assert page["next"]


async def test_a_file_with_the_conversation_and_its_owner(as_ana: httpx.AsyncClient, ana: Person) -> None:
    await say(as_ana, await new_conversation(as_ana, title="咖啡"), "local:500")
    columns = "model,served_model,usage.total,cost,total_ms,error.code,conversation.title,owner.email"

    [row] = read_jsonl((await export(as_ana, "turns", format="jsonl", columns=columns)).content)
    table = read_csv((await export(as_ana, "turns")).content)

    assert row.pop("total_ms") >= 0
    assert row == {
        "model": "local:500",
        "served_model": "local:tokens",
        "usage": {"total": 9},
        "cost": pytest.approx(13e-6),
        "error": {"code": None},
        "conversation": {"title": "咖啡"},
        "owner": {"email": ana.email},
    }
    assert column(table, "Tokens") == ["9"]
    assert table[0] == [each.label for each in TURNS.exported]
