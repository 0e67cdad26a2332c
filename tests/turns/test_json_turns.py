"""A turn as one JSON answer."""

import httpx
import pytest

from tests.turns.conftest import messages_of, new_conversation

pytestmark = pytest.mark.mongod


async def test_the_answer_is_stored_and_answered_whole(as_ana: httpx.AsyncClient, conversation: str) -> None:
    response = await as_ana.post(f"{conversation}/turns", json={"content": "Hello, 世界 👋"})

    assert response.status_code == 201
    turn = response.json()
    assert turn["state"] == "completed"
    assert turn["assistant_message"]["content"] == "Hello, 世界 👋"
    assert turn["assistant_message"]["status"] == "complete"
    assert turn["assistant_message"]["finish_reason"] == "stop"
    assert turn["usage"]["total"] == turn["usage"]["prompt"] + turn["usage"]["completion"] > 0
    assert [turn["user_message"]["seq"], turn["assistant_message"]["seq"]] == [1, 2]
    assert await messages_of(as_ana, conversation) == [turn["user_message"], turn["assistant_message"]]


async def test_the_location_leads_to_the_same_turn(as_ana: httpx.AsyncClient, conversation: str) -> None:
    response = await as_ana.post(f"{conversation}/turns", json={"content": "Hello"})

    again = await as_ana.get(response.headers["location"])

    assert again.status_code == 200
    assert again.json() == response.json()
    assert again.headers["etag"] == response.headers["etag"]
    unchanged = await as_ana.get(response.headers["location"], headers={"If-None-Match": again.headers["etag"]})
    assert unchanged.status_code == 304


async def test_the_conversation_counts_messages_and_is_free_again(as_ana: httpx.AsyncClient, conversation: str) -> None:
    for number in range(3):
        response = await as_ana.post(f"{conversation}/turns", json={"content": f"question {number}"})
        assert response.status_code == 201

    stored = (await as_ana.get(conversation)).json()
    assert (stored["last_seq"], stored["message_count"]) == (6, 6)
    assert [message["seq"] for message in await messages_of(as_ana, conversation)] == [1, 2, 3, 4, 5, 6]


async def test_metadata_belongs_to_the_question(as_ana: httpx.AsyncClient, conversation: str) -> None:
    body = {"content": "Hello", "metadata": {"source": "test"}}

    turn = (await as_ana.post(f"{conversation}/turns", json=body)).json()

    assert turn["user_message"]["metadata"] == {"source": "test"}
    assert turn["assistant_message"]["metadata"] == {}


async def test_an_unknown_turn_and_somebody_elses_look_the_same(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, anonymous: httpx.AsyncClient, conversation: str
) -> None:
    path = (await as_ana.post(f"{conversation}/turns", json={"content": "Hello"})).headers["location"]

    assert (await anonymous.get(path)).status_code == 401
    assert (await as_ben.get(path)).status_code == 404
    assert (await as_ana.get(f"/api/turns/{'0' * 24}")).status_code == 404
    assert (await as_ana.get("/api/turns/nonsense")).status_code == 422


async def test_a_turn_of_a_deleted_conversation_stays_readable_and_a_purged_one_is_gone(
    as_ana: httpx.AsyncClient, conversation: str
) -> None:
    path = (await as_ana.post(f"{conversation}/turns", json={"content": "Hello"})).headers["location"]

    assert (await as_ana.delete(conversation)).status_code == 204
    assert (await as_ana.get(path)).json()["assistant_message"]["content"] == "Hello"
    assert (await as_ana.delete(conversation, params={"permanent": "true"})).status_code == 204
    assert (await as_ana.get(path)).status_code == 404


async def test_the_model_of_the_turn_goes_before_the_conversations_and_that_before_the_default(
    as_ana: httpx.AsyncClient,
) -> None:
    path = await new_conversation(as_ana, model="local:stored")

    stored = (await as_ana.post(f"{path}/turns", json={"content": "Hi"})).json()
    asked = (await as_ana.post(f"{path}/turns", json={"content": "Hi", "model": "local:asked"})).json()
    default = (await as_ana.post(f"{await new_conversation(as_ana)}/turns", json={"content": "Hi"})).json()

    assert [stored["model"], asked["model"], default["model"]] == ["local:stored", "local:asked", "echo"]
    assert stored["assistant_message"]["provider"] == "local"
