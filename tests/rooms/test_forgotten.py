"""What the room or the feed has forgotten is read from the database."""

import asyncio
from typing import Any

import httpx
import pytest

from app.rooms import journal
from app.services import Services
from tests.conftest import Person
from tests.rooms.sockets import Json, append, connect, messages

pytestmark = pytest.mark.mongod


async def test_who_is_slower_than_the_room_remembers_reads_the_database(
    live_url: str,
    ana: Person,
    as_ana: httpx.AsyncClient,
    conversation: str,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A room that keeps two entries, and thirty that come at once."""
    monkeypatch.setattr(journal, "MAX_ENTRIES", 2)
    first = (await append(as_ana, conversation, "first"))[0]
    async with connect(live_url, ana) as socket:
        await socket.subscribe(conversation)
        for batch in range(5):
            await asyncio.gather(
                append(as_ana, conversation, *(f"{batch}.{number}" for number in range(30))),
                as_ana.patch(f"/api/messages/{first['id']}", json={"metadata": {"batch": str(batch)}}),
            )
        received: list[Json] = []
        numbers: list[Any] = []
        metadata: list[Any] = []
        while len(numbers) < 150 or metadata[-1:] != [{"batch": "4"}]:
            received.append(await socket.receive())
            numbers = [each["message"]["seq"] for each in received if each["type"] == "message"]
            metadata = [each["message"]["metadata"] for each in received if each["type"] == "message.updated"]
        assert numbers == list(range(2, 152))


async def test_changes_that_the_feed_has_lost_are_read_again(
    live_url: str, ana: Person, as_ana: httpx.AsyncClient, conversation: str, services: Services
) -> None:
    """The feed is cut off while things happen, and then says that it does not know which."""
    feed = services.changes
    first = (await append(as_ana, conversation, "first"))[0]
    async with connect(live_url, ana) as socket:
        await socket.subscribe(conversation)
        await feed.aclose()
        await append(as_ana, conversation, "missed", "missed too")
        await as_ana.patch(f"/api/messages/{first['id']}", json={"metadata": {"a": "b"}})
        feed._is_closing = False
        feed.open()
        assert [each["content"] for each in await messages(socket, 2)] == ["missed", "missed too"]
        changed = await socket.next("message.updated")
        assert changed["message"]["metadata"] == {"a": "b"}
