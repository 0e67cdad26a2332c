"""Conversations, an upstream that can be made to misbehave, and other processes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.config import Settings
from app.database import Database
from app.kit.repository import EVERYTHING, Row
from app.limits.quotas import Payer
from app.services import Services, build_services
from app.turns.beginning import Begun
from app.turns.events import Event
from app.turns.model import Turn
from app.turns.model import TurnEvents as StoredEvents
from app.turns.schemas import TurnCreate
from app.turns.streams import TurnEvents, outcome_of
from app.upstream_settings import ProviderSettings
from tests.conftest import DATABASE, Person
from tests.upstream import Upstream


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path, upstream: Upstream) -> Settings:
    """The upstream is the provider `local`, and `hasty` when its silence is not to be waited for."""
    local = {"base_url": upstream.base_url, "api_key": "sk-upstream", "max_retries": 0, "breaker_failures": 1000}
    hasty = {**local, "first_token_timeout": 0.3, "idle_timeout": 0.3}
    return Settings(
        _env_file=None,
        data=tmp_path,
        database=DATABASE,
        drain_timeout=1,
        turn_lease=1,
        llm_providers={
            "local": ProviderSettings.model_validate(local),
            "hasty": ProviderSettings.model_validate(hasty),
        },
    )


async def new_conversation(client: httpx.AsyncClient, **fields: Any) -> str:
    """The path of a new conversation."""
    response = await client.post("/api/conversations", json=fields)
    assert response.status_code == 201, response.text
    return str(response.headers["location"])


@pytest.fixture
async def conversation(as_ana: httpx.AsyncClient) -> str:
    """The path of an empty conversation of Ana's."""
    return await new_conversation(as_ana)


async def messages_of(client: httpx.AsyncClient, conversation: str) -> list[dict[str, Any]]:
    response = await client.get(f"{conversation}/messages", params={"limit": 1000})
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


async def ended(services: Services, turn: str) -> dict[str, Any]:
    """The turn of this path when it is over, waited for without any connection."""
    id = ObjectId(turn.rpartition("/")[2])
    return await outcome_of(await services.turns.streams.open(id))


async def stored_turns() -> list[Row]:
    return await Turn.get_pymongo_collection().find().to_list()


async def logged_text() -> str:
    """All text in the log of turns, which holds one turn in these tests."""
    rows = await StoredEvents.get_pymongo_collection().find(sort=[("_id", 1)]).to_list()
    return "".join(row.get("text", "") for row in rows)


@pytest.fixture
async def other(settings: Settings, empty_database: Database) -> AsyncIterator[Services]:
    """Another process on the same database, in good health."""
    built = build_services(settings, empty_database)
    built.open()
    await built.changes.opened()
    yield built
    built.turns.runner.stop()
    await built.aclose()


@pytest.fixture
async def silent(settings: Settings, empty_database: Database) -> AsyncIterator[Services]:
    """A process that runs turns and never says that it lives."""
    built = build_services(settings, empty_database)
    yield built
    built.turns.runner.stop()
    await built.aclose()


async def begin(services: Services, person: Person, conversation: str, **fields: Any) -> Begun:
    """A turn that this process runs: the model waits for `gate.release()` before each word unless told otherwise."""
    id = ObjectId(conversation.rpartition("/")[2])
    new = TurnCreate(**{"content": "Hi", "model": "local:drip", **fields})
    return await services.turns.ask(EVERYTHING, id, new, payer=Payer(person.id))


async def wait_for_delta(events: TurnEvents) -> Event:
    """The next delta of a turn."""
    async with asyncio.timeout(10):
        while True:
            for event in await events.next(None) or pytest.fail("the turn is over"):
                if event.name == "delta":
                    return event
