"""The database is killed while people write and models answer: those who follow miss nothing and see nothing twice."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.faults.conftest import data
from tests.mongod.processes import find_mongod_process
from tests.processes import ADMIN_KEY, ServerProcess
from tests.rooms.sockets import Json, Socket, connect, text_of
from tests.turns.conftest import messages_of, new_conversation

__all__ = ["data"]

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

ROUNDS = 60


async def everything(socket: Socket, last: int) -> tuple[list[Json], list[Json], dict[str, Json]]:
    """Messages, turn events and the newest state of what has changed, until all of it is there."""
    appended: list[Json] = []
    events: list[Json] = []
    changed: dict[str, Json] = {}
    while not appended or appended[-1]["seq"] < last or _unfinished(appended, changed):
        try:
            received = await socket.receive()
        except TimeoutError:
            break  # what is missing is seen by comparing
        if received["type"] == "message":
            appended.append(received["message"])
        elif received["type"] == "message.updated":
            changed[received["message"]["id"]] = received["message"]
        elif received["type"] == "turn":
            events.append(received)
    return appended, events, changed


def _unfinished(appended: list[Json], changed: dict[str, Json]) -> bool:
    return any(changed.get(each["id"], each)["status"] == "streaming" for each in appended)


async def test_followers_miss_nothing_and_see_nothing_twice(data: Path) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(ServerProcess(data))
        client = await stack.enter_async_context(server.client())
        conversation = await new_conversation(client)
        sockets = [await stack.enter_async_context(connect(server.url, ADMIN_KEY)) for _ in range(2)]
        for socket in sockets:
            await socket.subscribe(conversation)
        reading = [asyncio.create_task(everything(socket, ROUNDS * 3)) for socket in sockets]
        for number in range(ROUNDS):
            note = {"role": "user", "content": f"note {number}"}
            assert (await client.post(f"{conversation}/messages", json=note)).status_code == 201
            if number in {ROUNDS // 3, 2 * ROUNDS // 3}:
                find_mongod_process(data).kill()
            asked = await client.post(f"{conversation}/turns", json={"content": f"word {number} for word"})
            assert asked.status_code == 201, asked.text
        stored = await messages_of(client, conversation)
        for appended, events, changed in await asyncio.gather(*reading):
            assert [each["seq"] for each in appended] == list(range(1, 3 * ROUNDS + 1))
            assert [changed.get(each["id"], each) for each in appended] == stored
            for answer in stored[2::3]:
                told = [each for each in events if each["turn_id"] == answer["turn_id"]]
                assert text_of(told) == answer["content"]
        assert "Traceback" not in server.log
