"""Conversations that are shared with other users: what they may do with them, and what not."""

from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.conversations.sharing import MAX_SHARES
from app.services import Services
from tests.conftest import Person

MESSAGE = {"role": "user", "content": "Hello"}


@pytest.fixture
async def path(as_ana: httpx.AsyncClient) -> str:
    """A conversation of Ana's with one message."""
    created = await as_ana.post("/api/conversations", json={"title": "Ana's"})
    path = f"/api/conversations/{created.json()['id']}"
    assert (await as_ana.post(f"{path}/messages", json=MESSAGE)).status_code == 201
    return path


async def share(client: httpx.AsyncClient, path: str, person: Person, access: str = "read") -> httpx.Response:
    return await client.put(f"{path}/shares/{person.id}", json={"access": access})


async def test_a_reader_reads_and_nothing_else(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, ben: Person, path: str
) -> None:
    assert (await as_ben.get(path)).status_code == 404

    answer = await share(as_ana, path, ben)

    assert (answer.status_code, answer.json()) == (201, {"user_id": str(ben.id), "name": "Ben", "access": "read"})
    assert (await as_ben.get(path)).json() == (await as_ana.get(path)).json()
    page = await as_ben.get(f"{path}/messages")
    assert page.json() == (await as_ana.get(f"{path}/messages")).json()
    message = f"/api/messages/{page.json()['items'][0]['id']}"
    assert (await as_ben.get(message)).json() == (await as_ana.get(message)).json()
    for method, place, body in REFUSED_TO_WRITERS + REFUSED_TO_READERS:
        refused = await as_ben.request(method, f"{path}{place}", json=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), place
    assert (await as_ben.patch(message, json={"metadata": {"mine": "yes"}})).status_code == 403


REFUSED_TO_READERS: list[tuple[str, str, Any]] = [
    ("POST", "/messages", MESSAGE),
    ("POST", "/messages/bulk", {"messages": [MESSAGE]}),
    ("POST", "/turns", {"content": "Hello"}),
    ("POST", "/regenerate", {}),
]
REFUSED_TO_WRITERS: list[tuple[str, str, Any]] = [
    ("PUT", "", {"title": "Taken"}),
    ("PATCH", "", {"title": "Taken"}),
    ("DELETE", "", None),
    ("DELETE", "?permanent=true", None),
    ("GET", "/shares", None),
    ("PUT", f"/shares/{ObjectId()}", {"access": "write"}),
    ("DELETE", f"/shares/{ObjectId()}", None),
    ("POST", "/links", {}),
    ("GET", "/links", None),
    ("DELETE", f"/links/{ObjectId()}", None),
]


@pytest.mark.mongod  # a turn
async def test_a_writer_goes_on_with_it_and_changes_nothing_else(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, ben: Person, ana: Person, path: str
) -> None:
    assert (await share(as_ana, path, ben)).status_code == 201
    assert (await share(as_ana, path, ben, "write")).status_code == 200

    appended = await as_ben.post(f"{path}/messages", json=MESSAGE)
    turn = await as_ben.post(f"{path}/turns", json={"content": "Echo"})

    assert (appended.status_code, appended.json()["owner_id"]) == (201, str(ana.id))
    assert (turn.status_code, turn.json()["assistant_message"]["content"]) == (201, "Echo")
    for route in (f"/api/turns/{turn.json()['id']}", f"/api/messages/{appended.json()['id']}"):
        assert (await as_ben.get(route)).status_code == 200
    assert (await as_ben.post(f"/api/turns/{turn.json()['id']}/cancel")).status_code == 200
    assert (await as_ben.post(f"/api/turns/{turn.json()['id']}/retry")).status_code == 409
    for method, place, body in REFUSED_TO_WRITERS:
        refused = await as_ben.request(method, f"{path}{place}", json=body)
        assert refused.status_code == 403, place
    assert (await as_ana.get(path)).json()["title"] == "Ana's"


@pytest.mark.mongod  # a turn
async def test_a_reader_reads_a_turn_and_does_nothing_to_it(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, ben: Person, path: str
) -> None:
    turn = f"/api/turns/{(await as_ana.post(f'{path}/turns', json={'content': 'Hi'})).json()['id']}"
    nobodys = (await as_ben.get(turn)).json()
    assert (nobodys["status"], nobodys["detail"]) == (404, "There is no such turn.")
    await share(as_ana, path, ben)

    assert (await as_ben.get(turn)).json() == (await as_ana.get(turn)).json()
    assert (await as_ben.get(f"{turn}/events")).text == (await as_ana.get(f"{turn}/events")).text
    assert [(await as_ben.post(f"{turn}/{what}")).status_code for what in ("cancel", "retry")] == [403, 403]


async def test_what_is_revoked_is_gone_at_once(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, ben: Person, path: str
) -> None:
    await share(as_ana, path, ben, "write")
    message = f"/api/messages/{(await as_ben.get(f'{path}/messages')).json()['items'][0]['id']}"

    assert (await as_ana.delete(f"{path}/shares/{ben.id}")).status_code == 204

    for route in (path, f"{path}/messages", message):
        assert (await as_ben.get(route)).status_code == 404
    assert (await as_ben.post(f"{path}/messages", json=MESSAGE)).status_code == 404
    assert (await as_ana.get(f"{path}/shares")).json() == {"items": []}
    assert (await as_ana.delete(f"{path}/shares/{ben.id}")).status_code == 404


async def test_writing_can_be_taken_back_while_reading_stays(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, ben: Person, path: str
) -> None:
    await share(as_ana, path, ben, "write")
    await share(as_ana, path, ben, "read")

    assert (await as_ben.post(f"{path}/messages", json=MESSAGE)).status_code == 403
    assert (await as_ben.get(path)).status_code == 200
    assert (await as_ana.get(f"{path}/shares")).json()["items"][0]["access"] == "read"


async def test_lists_show_what_is_shared_only_when_asked(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, ben: Person, path: str
) -> None:
    await as_ben.post("/api/conversations", json={"title": "Ben's"})
    await share(as_ana, path, ben)

    def titles(response: httpx.Response) -> list[str]:
        return [each["title"] for each in response.json()["items"]]

    assert titles(await as_ben.get("/api/conversations")) == ["Ben's"]
    assert titles(await as_ben.get("/api/conversations", params={"shared": "true"})) == ["Ana's"]
    assert titles(await as_ana.get("/api/conversations", params={"shared": "true"})) == []
    assert (await as_ben.get("/api/messages")).json()["items"] == []
    assert (await as_ben.get("/api/conversations", params={"shared": "perhaps"})).status_code == 422
    await as_ana.delete(path)
    for status in ({}, {"status": "deleted"}):
        assert titles(await as_ben.get("/api/conversations", params={"shared": "true", **status})) == []


@pytest.mark.mongod  # $merge
async def test_a_fork_of_what_is_shared_is_ones_own(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, ben: Person, path: str
) -> None:
    assert (await as_ben.post(f"{path}/fork", json={"seq": 0})).status_code == 404
    await share(as_ana, path, ben)

    assert (await as_ben.post(f"{path}/fork", json={"seq": 0})).json()["owner_id"] == str(ben.id)


async def test_what_cannot_be_shared_is_said(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, ana: Person, ben: Person, path: str, services: Services
) -> None:
    assert (await share(as_ana, path, ana)).json()["reason"] == "owner"
    assert (await as_ana.put(f"{path}/shares/{ObjectId()}", json={"access": "read"})).status_code == 404
    assert (await as_ana.put(f"{path}/shares/{ben.id}", json={"access": "own"})).status_code == 422
    assert (await share(as_ben, path, ben)).status_code == 404
    id = ObjectId(path.rpartition("/")[2])
    others = [ObjectId() for _ in range(MAX_SHARES)]
    await services.conversations.rows.collection.update_one({"_id": id}, {"$set": {"readers": others}})
    assert (await share(as_ana, path, ben)).json()["reason"] == "too_many_shares"


async def test_a_removed_user_is_taken_from_what_was_shared_with_them(
    as_ana: httpx.AsyncClient, as_admin: httpx.AsyncClient, ben: Person, path: str
) -> None:
    await share(as_ana, path, ben, "write")

    assert (await as_admin.delete(f"/api/users/{ben.id}")).status_code == 204

    assert (await as_ana.get(f"{path}/shares")).json() == {"items": []}
