"""Forks: a conversation that begins like another one, and is its own from there on."""

import asyncio
from typing import Any

import httpx
import pytest

from app.conversations.model import Conversation, Message
from app.services import Services
from tests.conftest import Person
from tests.turns.conftest import messages_of, new_conversation

pytestmark = pytest.mark.mongod

ORIGINALS = {"usage", "cost", "turn_id", "feedback"}


@pytest.fixture
async def origin(as_ana: httpx.AsyncClient) -> str:
    """Two turns, the second one regenerated: five messages."""
    path = await new_conversation(as_ana, title="Trip 旅行", system_prompt="Be brief.", tags=["a"], metadata={"k": "v"})
    for content in ("first", "second 问题"):
        assert (await as_ana.post(f"{path}/turns", json={"content": content})).status_code == 201
    assert (await as_ana.post(f"{path}/regenerate", json={})).status_code == 201
    return path


def _copied(message: dict[str, Any]) -> dict[str, Any]:
    own = {"id", "conversation_id", *ORIGINALS}
    return {name: value for name, value in message.items() if name not in own}


@pytest.mark.parametrize("seq", [0, 1, 2, 4, 5])
async def test_a_fork_has_the_first_messages_as_they_are(as_ana: httpx.AsyncClient, origin: str, seq: int) -> None:
    response = await as_ana.post(f"{origin}/fork", json={"seq": seq})

    assert response.status_code == 201
    fork = response.json()
    original = (await as_ana.get(origin)).json()
    assert fork["parent"] == {"conversation_id": original["id"], "seq": seq}
    inherited = ("title", "system_prompt", "model", "tags", "metadata", "owner_id")
    assert {name: fork[name] for name in inherited} == {name: original[name] for name in inherited}
    assert (fork["status"], fork["last_seq"], fork["message_count"]) == ("active", seq, seq)
    messages = await messages_of(as_ana, response.headers["location"])
    assert [message["seq"] for message in messages] == list(range(1, seq + 1))
    assert [_copied(each) for each in messages] == [_copied(each) for each in (await messages_of(as_ana, origin))[:seq]]
    assert all(message[name] is None for message in messages for name in ORIGINALS)
    assert {message["conversation_id"] for message in messages} <= {fork["id"]}


async def test_both_go_on_by_themselves(as_ana: httpx.AsyncClient, origin: str) -> None:
    fork = (await as_ana.post(f"{origin}/fork", json={"seq": 2, "title": "Other"})).headers["location"]

    one = await as_ana.post(f"{fork}/turns", json={"content": "in the fork"})
    two = await as_ana.post(f"{origin}/turns", json={"content": "in the origin"})

    assert (one.json()["user_message"]["seq"], two.json()["user_message"]["seq"]) == (3, 6)
    assert len(await messages_of(as_ana, fork)) == 4
    assert (await as_ana.get(fork)).json()["title"] == "Other"
    await as_ana.delete(origin, params={"permanent": "true"})
    assert len(await messages_of(as_ana, fork)) == 4
    found = (await as_ana.get("/api/messages", params={"q": "first"})).json()["items"]
    assert {message["conversation_id"] for message in found} == {fork.rpartition("/")[2]}


async def test_a_fork_of_a_long_conversation(as_ana: httpx.AsyncClient) -> None:
    path = await new_conversation(as_ana)
    batch = [{"role": "user", "content": f"message {number}"} for number in range(1000)]
    for _ in range(6):
        assert (await as_ana.post(f"{path}/messages/bulk", json={"messages": batch})).status_code == 201

    fork = await as_ana.post(f"{path}/fork", json={"seq": 5500})

    assert fork.json()["message_count"] == 5500
    last = (await as_ana.get(f"{fork.headers['location']}/messages", params={"sort": "-seq", "limit": 1})).json()
    assert (last["items"][0]["seq"], last["items"][0]["content"]) == (5500, "message 499")


@pytest.mark.parametrize("body", [{}, {"seq": -1}, {"seq": 6}, {"seq": "1"}, {"seq": 1, "owner_id": "x"}])
async def test_a_fork_that_cannot_be_leaves_nothing(as_ana: httpx.AsyncClient, origin: str, body: Any) -> None:
    response = await as_ana.post(f"{origin}/fork", json=body)

    assert response.status_code == 422
    assert await Conversation.get_pymongo_collection().count_documents({}) == 1


async def test_somebody_elses_conversation_cannot_be_forked(
    as_ben: httpx.AsyncClient, anonymous: httpx.AsyncClient, origin: str
) -> None:
    assert (await as_ben.post(f"{origin}/fork", json={"seq": 1})).status_code == 404
    assert (await anonymous.post(f"{origin}/fork", json={"seq": 1})).status_code == 401


async def test_an_admins_fork_is_the_admins(as_admin: httpx.AsyncClient, admin: Person, origin: str) -> None:
    fork = (await as_admin.post(f"{origin}/fork", json={"seq": 1})).json()

    assert fork["owner_id"] == str(admin.id)


async def test_a_repeated_fork_is_one_fork(as_ana: httpx.AsyncClient, origin: str) -> None:
    key = {"Idempotency-Key": "once"}
    posts = [as_ana.post(f"{origin}/fork", json={"seq": 3}, headers=key) for _ in range(8)]

    responses = await asyncio.gather(*posts)

    assert {response.status_code for response in responses} == {201}
    assert len({response.json()["id"] for response in responses}) == 1
    assert await Conversation.get_pymongo_collection().count_documents({}) == 2
    assert await Message.get_pymongo_collection().count_documents({}) == 5 + 3
    other = await as_ana.post(f"{origin}/fork", json={"seq": 2}, headers=key)
    assert other.json()["code"] == "idempotency_key_reused"


async def test_an_answer_that_is_being_written_is_copied_as_far_as_it_is_stored(
    as_ana: httpx.AsyncClient, origin: str, services: Services
) -> None:
    await Message.get_pymongo_collection().update_one({"seq": 5}, {"$set": {"status": "streaming"}})

    fork = await as_ana.post(f"{origin}/fork", json={"seq": 5})

    statuses = [message["status"] for message in await messages_of(as_ana, fork.headers["location"])]
    assert statuses == ["complete", "complete", "complete", "superseded", "interrupted"]
