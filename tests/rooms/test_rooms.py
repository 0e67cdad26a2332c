"""Two people in one room, and what a subscription brings in which order."""

import httpx
import pytest

from tests.api.calls import say
from tests.conftest import Person
from tests.rooms.sockets import connect, text_of
from tests.turns.conftest import messages_of

pytestmark = pytest.mark.mongod


async def test_smoke(live_url: str, ana: Person, live_ana: httpx.AsyncClient, conversation: str) -> None:
    async with connect(live_url, ana) as socket:
        assert (await socket.ask("ping"))["type"] == "pong"
        print(await socket.subscribe(conversation))
        answer = await socket.ask("ask", conversation_id=conversation.rpartition("/")[2], turn={"content": "Hello you"})
        assert answer["type"] == "asked", answer
        for _ in range(8):
            print(await socket.receive())
