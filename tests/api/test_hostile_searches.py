"""Searches that would read for ever: they answer in part or are refused, and nobody else notices."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.conversations.model import Message
from app.kit.scanning import Pace
from app.kit.search import Search
from app.services import Services
from tests.api.calls import fields_at_fault, new_conversation, say
from tests.conftest import Person, make_person

pytestmark = pytest.mark.mongod
HOSTILE = [
    r"(a+)+$",
    r"(\w+\s?)+$",
    "(a|aa)+$",
    ".{1,30}.*[yz]",
    "a.*b",
    "(?=.*[yz])a",
    "(.*a){20}",
    "([0-9]|a){6}[xyz]",
]


@pytest.fixture
async def long_messages(services: Services, live_ana: httpx.AsyncClient, ana: Person) -> str:
    """Ana's conversation with 300 messages that a hostile pattern likes, some of them very long; its id."""
    conversation = await new_conversation(live_ana)
    first = await say(live_ana, conversation, "the first one")
    stored = await services.conversations.messages.collection.find_one({"conversation_id": {"$ne": None}})
    assert stored is not None
    assert str(stored["_id"]) == first["id"]
    rows: list[dict[str, Any]] = [
        {**stored, "seq": number, "content": "a" * (500 if number % 20 else 50_000) + "!"} for number in range(2, 302)
    ]
    for row in rows:
        del row["_id"]
    await Message.get_pymongo_collection().insert_many(rows)
    return str(conversation["id"])


@pytest.fixture
async def crowd(services: Services, live_url: str) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Eight analysts, who see everybody's messages."""
    people = [await make_person(services, f"analyst{number}", "analyst") for number in range(8)]
    clients = [httpx.AsyncClient(base_url=live_url, headers=each.headers, timeout=60) for each in people]
    yield clients
    for client in clients:
        await client.aclose()


@pytest.mark.slow
async def test_hostile_patterns_hurt_nobody(
    live_ana: httpx.AsyncClient, crowd: list[httpx.AsyncClient], long_messages: str
) -> None:
    over = asyncio.Event()

    async def attack(client: httpx.AsyncClient, pattern: str) -> list[httpx.Response]:
        asked = {"q": pattern, "match": "regex", "limit": "1000"}
        return [await client.get("/api/messages", params=asked) for _ in range(2)]

    async def read() -> list[httpx.Response]:
        answers = []
        while not over.is_set():
            answers.append(await live_ana.get("/api/conversations"))
            answers.append(await live_ana.get(f"/api/conversations/{long_messages}"))
            answers.append(await live_ana.get("/api/conversations", params={"q": "title"}))
        return answers

    reading = asyncio.create_task(read())
    attacks = await asyncio.gather(*(attack(client, each) for client, each in zip(crowd, HOSTILE, strict=True)))
    over.set()

    assert {answer.status_code for answer in await reading} == {200}
    statuses = [answer.status_code for answers in attacks for answer in answers]
    assert set(statuses) <= {200, 422, 429}, statuses
    assert 200 in statuses or 422 in statuses
    for answer in (each for answers in attacks for each in answers):
        body = answer.json()
        if answer.status_code == 200:
            assert body.get("partial") in (None, True)
            assert (body["next"] is not None) == ("partial" in body)
        else:
            assert body["code"] in {"query_too_expensive", "too_many_searches"}
            assert ("Retry-After" in answer.headers) == (answer.status_code == 429)


@pytest.mark.slow
async def test_one_users_flood_is_refused_and_the_next_user_searches(
    live_ana: httpx.AsyncClient, crowd: list[httpx.AsyncClient], long_messages: str
) -> None:
    hostile = {"q": ".{1,30}.*[yz]", "match": "regex"}
    flood = [asyncio.create_task(crowd[0].get("/api/messages", params=hostile)) for _ in range(20)]

    found = await live_ana.get("/api/messages", params={"q": "first one"})

    statuses = [answer.status_code for answer in await asyncio.gather(*flood)]
    assert (found.status_code, [each["content"] for each in found.json()["items"]]) == (200, ["the first one"])
    assert set(statuses) == {200, 429}
    assert statuses.count(429) >= 11


@pytest.mark.slow
async def test_a_partial_page_says_so_and_leads_on(
    as_ana: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message takes the pattern 0.04 to 0.1 s, and all of them several times longer than a page has here."""
    messages = services.conversations.messages
    effort = messages.effort
    monkeypatch.setattr(messages, "effort", lambda scope: effort(scope, 1.0))
    conversation = await new_conversation(as_ana)
    for number in range(100):
        await say(as_ana, conversation, f"{number} {'a' * 500}")
    monkeypatch.setattr(messages, "pace", Pace(first_rows=1))
    path = f"/api/conversations/{conversation['id']}/messages"
    asked = {"q": "^49|.{1,30}.*[yz]", "match": "regex", "limit": "5"}

    pages = [(await as_ana.get(path, params=asked)).json()]
    while pages[-1]["next"] is not None:
        pages.append((await as_ana.get(path, params={**asked, "after": pages[-1]["next"]})).json())

    assert pages[0]["partial"] is True
    assert "partial" not in pages[-1]
    assert [each["seq"] for page in pages for each in page["items"]] == [50]
    counted = await as_ana.get(path, params={**asked, "count": "exact"})
    assert (counted.status_code, counted.json()["code"]) == (422, "query_too_expensive")
    assert "`count`" in counted.json()["detail"]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("(", "missing"),
        ("x)|(?:y", "unmatched"),
        ("a\0b", "NUL"),
        ("x" * 201, "200"),
        ("(*COMMIT)", "(*"),
        ("", "empty"),
    ],
)
async def test_what_is_no_pattern_is_refused_with_the_reason(
    as_ana: httpx.AsyncClient, query: str, reason: str
) -> None:
    await say(as_ana, await new_conversation(as_ana), "a")

    refused = await as_ana.get("/api/messages", params={"q": query, "match": "regex"})

    assert fields_at_fault(refused) == ["query.q"]
    assert reason in refused.json()["detail"]


def test_the_condition_of_a_pattern_stays_small() -> None:
    """It goes to the database with every slice."""
    assert len(repr(Search(("email", "name"), "x" * 200, "regex").condition)) < 10_000
