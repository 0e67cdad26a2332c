"""Servers that tell webhooks of loopback, soon and often."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from app.config import Settings
from app.services import Services
from app.webhooks.retries import Times
from tests.conftest import DATABASE
from tests.webhooks.receiver import Receiver

T = TypeVar("T")
FIRST_RETRY = timedelta(milliseconds=20)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None,
        data=tmp_path,
        database=DATABASE,
        drain_timeout=1,
        search_builder=False,
        turn_lease=1,
        webhook_allow=["127.0.0.0/8"],
        webhook_timeout=1,
    )


@pytest.fixture
def soon(services: Services) -> Times:
    """Retries come at once."""
    times = Times(first=FIRST_RETRY)
    set_times(services, times)
    return times


def set_times(services: Services, times: Times) -> None:
    webhooks = services.webhooks
    webhooks._times = webhooks._dispatcher._times = webhooks._relay._subscriptions._times = times


async def subscribe(client: httpx.AsyncClient, url: str, *events: str, **fields: Any) -> dict[str, Any]:
    """A webhook, with its secret."""
    body = {"url": url, "events": list(events) or ["message.created"], **fields}
    response = await client.post("/api/webhooks", json=body)
    assert response.status_code == 201, response.text
    return dict(response.json())


async def log_of(client: httpx.AsyncClient, webhook: dict[str, Any], **parameters: Any) -> list[dict[str, Any]]:
    """The deliveries of a webhook, the newest first."""
    response = await client.get(f"/api/webhooks/{webhook['id']}/deliveries", params=parameters)
    assert response.status_code == 200, response.text
    return list(response.json()["items"])


async def shown(client: httpx.AsyncClient, webhook: dict[str, Any]) -> dict[str, Any]:
    """The webhook as it is now."""
    response = await client.get(f"/api/webhooks/{webhook['id']}")
    assert response.status_code == 200, response.text
    return dict(response.json())


async def until(look: Callable[[], Awaitable[T]], is_wanted: Callable[[T], bool]) -> T:
    """What is stored, once it is as wanted: the server's tasks store it whenever they do, and tell nobody here."""
    async with asyncio.timeout(20):
        while not is_wanted(found := await look()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return found
