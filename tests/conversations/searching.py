"""Messages to search, and what the tests of searches do over and over."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from bson import ObjectId

from app.conversations.model import Conversation, Message
from app.services import Services

Json = dict[str, Any]
START = datetime(2026, 1, 1, tzinfo=UTC)


class Archive:
    """Stores conversations and messages, a minute apart unless they say otherwise."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._numbers: dict[ObjectId, int] = {}
        self._count = 0

    async def conversation(self, owner_id: ObjectId, **fields: Any) -> ObjectId:
        row = Conversation(owner_id=owner_id, **fields)
        await self._services.conversations.rows.insert_many([row])
        self._numbers[row.id] = 0
        return row.id

    async def messages(self, owner_id: ObjectId, home: ObjectId, *contents: str, **fields: Any) -> list[str]:
        """Their ids."""
        rows = [self.message(owner_id, home, content, **fields) for content in contents]
        await self._services.conversations.messages.insert_many(rows)
        return [str(row.id) for row in rows]

    def message(self, owner_id: ObjectId, home: ObjectId, content: str, **fields: Any) -> Message:
        self._count += 1
        self._numbers[home] = self._numbers.get(home, 0) + 1
        usual = {"role": "user", "created_at": START + timedelta(minutes=self._count)}
        return Message(
            owner_id=owner_id, conversation_id=home, seq=self._numbers[home], content=content, **{**usual, **fields}
        )


async def search(client: httpx.AsyncClient, **parameters: Any) -> Json:
    """One page."""
    response = await client.get("/api/search", params=parameters)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def results(client: httpx.AsyncClient, **parameters: Any) -> list[Json]:
    """The items of all pages, forwards."""
    found: list[Json] = []
    while True:
        page = await search(client, **parameters)
        found += page["items"]
        if page["next"] is None:
            return found
        parameters["after"] = page["next"]


async def found(client: httpx.AsyncClient, **parameters: Any) -> list[str]:
    """The ids of the messages on all pages."""
    return [each["message"]["id"] for each in await results(client, **parameters)]


def marked(item: Mapping[str, Any], content: str) -> list[str]:
    """The texts of the ranges."""
    return [content[start:end] for start, end in item["snippet"]["ranges"]]
