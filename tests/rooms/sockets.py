"""A client of the WebSocket as the guide describes it.

async with connect(url, key) as socket:
    answer = await socket.ask("subscribe", conversation_id=id)
    message = await socket.next("message")
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import websockets.asyncio.client
from websockets.exceptions import ConnectionClosed

from tests.conftest import Person

Json = dict[str, Any]
_PATIENCE = 20.0


def address_of(url: str, query: str = "") -> str:
    return url.replace("http://", "ws://") + "/api/ws" + query


class Socket:
    """One connection. What comes while an answer is waited for is kept."""

    def __init__(self, connection: websockets.asyncio.client.ClientConnection) -> None:
        self.connection = connection
        self.kept: deque[Json] = deque()
        self._count = 0

    async def receive(self) -> Json:
        """The next message as it comes, kept ones first. Raises ConnectionClosed."""
        if self.kept:
            return self.kept.popleft()
        return await self._receive()

    async def _receive(self) -> Json:
        async with asyncio.timeout(_PATIENCE):
            text = await self.connection.recv()
        assert isinstance(text, str)
        message: Json = json.loads(text)
        return message

    async def send(self, value: Any) -> None:
        await self.connection.send(value if isinstance(value, str | bytes) else json.dumps(value, ensure_ascii=False))

    async def ask(self, type: str, **members: Any) -> Json:
        """Send a request, and wait for its answer."""
        self._count += 1
        id = f"r{self._count}"
        await self.send({"id": id, "type": type, **members})
        while True:
            message = await self._receive()
            if message.get("id") == id:
                return message
            self.kept.append(message)

    async def subscribe(self, conversation: str, **members: Any) -> Json:
        """Follow the conversation of this path."""
        answer = await self.ask("subscribe", conversation_id=conversation.rpartition("/")[2], **members)
        assert answer["type"] == "subscribed", answer
        return answer

    async def until(self, is_last: Callable[[Json], bool]) -> list[Json]:
        """The messages up to one."""
        messages = [await self.receive()]
        while not is_last(messages[-1]):
            messages.append(await self.receive())
        return messages

    async def next(self, type: str, **members: Any) -> Json:
        """The next message of a type with these members; what comes before it is left out."""
        return (await self.until(lambda message: _is(message, type, members)))[-1]

    async def turn(self) -> list[Json]:
        """The events of the next turn that ends."""
        messages = await self.until(lambda each: each["type"] == "turn" and _ends(each))
        return [each for each in messages if each["type"] == "turn"]

    async def closed(self) -> ConnectionClosed:
        """How the connection ends; what comes before that is kept."""
        try:
            while True:
                self.kept.append(await self._receive())
        except ConnectionClosed as error:
            return error


def _is(message: Json, type: str, members: Mapping[str, Any]) -> bool:
    return message["type"] == type and all(message.get(name) == value for name, value in members.items())


def _ends(message: Json) -> bool:
    return message["event"] not in {"turn.started", "delta"}


def text_of(events: list[Json]) -> str:
    """The text that the deltas make, whose numbers must go up by one."""
    numbers = [event["number"] for event in events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return "".join(event["data"]["text"] for event in events if event["event"] == "delta")


async def append(client: httpx.AsyncClient, conversation: str, *contents: str) -> list[Json]:
    """Messages of a user that are stored together, as they were answered."""
    messages = [{"role": "user", "content": each} for each in contents]
    response = await client.post(f"{conversation}/messages/bulk", json={"messages": messages})
    assert response.status_code == 201, response.text
    items: list[Json] = response.json()["items"]
    return items


async def messages(socket: Socket, count: int) -> list[Json]:
    """The next messages, which nothing else may come between."""
    received = [await socket.receive() for _ in range(count)]
    assert [each["type"] for each in received] == ["message"] * count
    return [each["message"] for each in received]


def told(received: list[Json]) -> list[Json]:
    """What was said, without who was there and how far a turn was when its start was told."""
    return [
        {**each, "data": each["data"]["id"]} if each.get("event") == "turn.started" else each
        for each in received
        if each["type"] != "presence"
    ]


@asynccontextmanager
async def connect(url: str, key: str | Person | None = None, **options: Any) -> AsyncIterator[Socket]:
    """An open socket of the server at this address, with a key in the header."""
    secret = key.key if isinstance(key, Person) else key
    headers = {"Authorization": f"Bearer {secret}"} if secret else options.pop("additional_headers", {})
    query = options.pop("query", "")
    async with websockets.asyncio.client.connect(
        address_of(url, query), additional_headers=headers, compression=None, **options
    ) as connection:
        yield Socket(connection)
