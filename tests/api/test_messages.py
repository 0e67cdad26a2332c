"""/api/messages: messages across conversations, and feedback on one."""

from typing import Any

import httpx
import pytest
from bson import ObjectId

from tests.api.calls import Json, fields_at_fault, items, new_conversation, say


@pytest.fixture
async def conversation(as_ana: httpx.AsyncClient) -> Json:
    return await new_conversation(as_ana)


@pytest.fixture
async def message(as_ana: httpx.AsyncClient, conversation: Json) -> Json:
    return await say(as_ana, conversation, "words", "assistant", metadata={"a": "1", "b": "2"})


@pytest.fixture
def path(message: Json) -> str:
    return f"/api/messages/{message['id']}"


@pytest.mark.parametrize(("method", "end"), [("GET", ""), ("GET", "/export"), ("GET", "/{id}"), ("PATCH", "/{id}")])
async def test_anonymous_reaches_nothing(anonymous: httpx.AsyncClient, message: Json, method: str, end: str) -> None:
    path = f"/api/messages{end}".format(id=message["id"])

    response = await anonymous.request(method, path, json={} if method == "PATCH" else None)

    assert response.status_code == 401


async def test_somebody_elses_message_looks_absent(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, message: Json, path: str
) -> None:
    absent = f"/api/messages/{ObjectId()}"
    for each in (path, absent):
        assert (await as_ben.get(each)).status_code == 404
        assert (await as_ben.patch(each, json={"feedback": {"rating": "down"}})).status_code == 404
    assert await items(as_ben, "/api/messages") == []
    assert (await as_ana.get(path)).json() == message


async def test_an_analyst_reads_all_and_changes_nothing(
    as_analyst: httpx.AsyncClient, message: Json, path: str
) -> None:
    assert (await as_analyst.get(path)).json() == message
    assert await items(as_analyst, "/api/messages") == [message]
    assert (await as_analyst.patch(path, json={"feedback": {"rating": "up"}})).status_code == 403


async def test_messages_of_all_conversations_are_listed_the_newest_first(
    as_ana: httpx.AsyncClient, conversation: Json, message: Json
) -> None:
    other = await new_conversation(as_ana)
    second = await say(as_ana, other, "second")

    assert await items(as_ana, "/api/messages") == [second, message]
    assert await items(as_ana, "/api/messages", conversation_id=conversation["id"]) == [message]
    assert await items(as_ana, "/api/messages", sort="created_at") == [message, second]


async def test_feedback_is_set_changed_and_taken_back(as_ana: httpx.AsyncClient, message: Json, path: str) -> None:
    given = await as_ana.patch(path, json={"feedback": {"rating": "up", "comment": "clear"}})
    assert given.status_code == 200
    assert given.json() == {**message, "feedback": {"rating": "up", "comment": "clear"}}
    assert given.headers["etag"] == '"2"'

    changed = await as_ana.patch(path, json={"feedback": {"rating": "down"}})
    assert changed.json()["feedback"] == {"rating": "down", "comment": "clear"}

    shorter = await as_ana.patch(path, json={"feedback": {"comment": None}})
    assert shorter.json()["feedback"] == {"rating": "down", "comment": None}

    taken_back = await as_ana.patch(path, json={"feedback": None})
    assert taken_back.json() == message
    assert (await as_ana.get(path)).json() == message


@pytest.mark.mongod
async def test_rated_messages_are_found(as_ana: httpx.AsyncClient, conversation: Json, message: Json) -> None:
    await say(as_ana, conversation, "unrated")
    await as_ana.patch(f"/api/messages/{message['id']}", json={"feedback": {"rating": "up"}})

    found = {
        question: [each["content"] for each in await items(as_ana, "/api/messages", **{question: value})]
        for question, value in [
            ("feedback.rating", "up"),
            ("feedback.rating__ne", "up"),
            ("feedback.rating__exists", "true"),
            ("feedback.rating__in", "up,down"),
        ]
    }
    assert found == {
        "feedback.rating": ["words"],
        "feedback.rating__ne": ["unrated"],
        "feedback.rating__exists": ["words"],
        "feedback.rating__in": ["words"],
    }


async def test_metadata_is_merged_and_feedback_stays(as_ana: httpx.AsyncClient, path: str) -> None:
    await as_ana.patch(path, json={"feedback": {"rating": "up"}})

    patched = await as_ana.patch(path, json={"metadata": {"a": None, "c": "3"}})

    assert patched.json()["metadata"] == {"b": "2", "c": "3"}
    assert patched.json()["feedback"] == {"rating": "up", "comment": None}


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"content": "other words"}, "body.content"),
        ({"seq": 9}, "body.seq"),
        ({"role": "user"}, "body.role"),
        ({"status": "complete"}, "body.status"),
        ({"feedback": {"rating": "meh"}}, "body.feedback.rating"),
        ({"feedback": {"comment": "no rating"}}, "body.feedback.rating"),
        ({"feedback": {"rating": "up", "stars": 5}}, "body.feedback.stars"),
        ({"feedback": "up"}, "body.feedback"),
        ({"feedback": {"rating": "up", "comment": "x" * 10_001}}, "body.feedback.comment"),
        ({"metadata": {str(number): "x" for number in range(17)}}, "body.metadata"),
        ({"metadata": {"a.b": "x"}}, "body"),
    ],
)
async def test_what_cannot_be_changed_is_named(
    as_ana: httpx.AsyncClient, message: Json, path: str, patch: dict[str, Any], field: str
) -> None:
    assert fields_at_fault(await as_ana.patch(path, json=patch)) == [field]
    assert (await as_ana.get(path)).json() == message


async def test_feedback_on_another_version_shows_the_stored_one(as_ana: httpx.AsyncClient, path: str) -> None:
    await as_ana.patch(path, json={"feedback": {"rating": "up"}})

    refused = await as_ana.patch(path, json={"feedback": {"rating": "down"}}, headers={"If-Match": '"1"'})

    assert refused.status_code == 412
    assert refused.json()["current"] == (await as_ana.get(path)).json()
    assert refused.json()["current"]["feedback"]["rating"] == "up"
    assert (await as_ana.patch(path, json={"feedback": None}, headers={"If-Match": '"2"'})).status_code == 200


async def test_a_known_message_is_not_sent_again(as_ana: httpx.AsyncClient, path: str) -> None:
    assert (await as_ana.get(path, headers={"If-None-Match": '"1"'})).status_code == 304


@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_an_id_that_is_none_is_named(as_ana: httpx.AsyncClient, method: str) -> None:
    response = await as_ana.request(method, "/api/messages/42", json={} if method == "PATCH" else None)

    assert fields_at_fault(response) == ["path.id"]
