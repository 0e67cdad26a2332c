"""Legal holds: what is held stays, whoever wants to remove it."""

import asyncio

import httpx
import pytest
from bson import ObjectId

from app.kit.repository import EVERYTHING
from app.services import Services
from tests.conftest import Person

pytestmark = pytest.mark.mongod


@pytest.fixture
async def conversation(as_ana: httpx.AsyncClient) -> str:
    path: str = (await as_ana.post("/api/conversations", json={"title": "Evidence"})).headers["location"]
    await as_ana.post(f"{path}/messages", json={"role": "user", "content": "It was me"})
    return path


async def place(client: httpx.AsyncClient, resource: str, target_id: object) -> str:
    body = {"resource": resource, "target_id": str(target_id), "reason": "case 7"}
    response = await client.post("/api/holds", json=body)
    assert response.status_code == 201, response.text
    path: str = response.headers["location"]
    return path


@pytest.mark.parametrize("what", ["users", "conversations"])
async def test_what_is_held_stays_until_the_hold_is_lifted(
    as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person, conversation: str, what: str
) -> None:
    hold = await place(as_admin, what, ana.id if what == "users" else conversation.rpartition("/")[2])

    refused = [
        await as_ana.delete(conversation),
        await as_ana.delete(conversation, params={"permanent": "true"}),
        await as_admin.delete(f"/api/users/{ana.id}", params={"conversations": "delete"}),
    ]
    bulk = {"operations": [{"action": "delete", "id": conversation.rpartition("/")[2]}]}
    in_bulk = (await as_ana.post("/api/conversations/bulk", json=bulk)).json()["results"][0]

    for response in refused:
        assert (response.status_code, response.json()["reason"]) == (409, "held")
        assert "legal hold" in response.json()["detail"]
    assert (in_bulk["status"], in_bulk["error"]["reason"]) == (409, "held")
    assert (await as_ana.get(conversation)).status_code == 200
    assert (await as_ana.get("/api/users/me")).json()["disabled"] is False
    assert (await as_admin.delete(hold)).status_code == 204
    assert (await as_ana.delete(conversation, params={"permanent": "true"})).status_code == 204


async def test_a_deleted_conversation_can_be_held(
    as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, conversation: str
) -> None:
    await as_ana.delete(conversation)
    await place(as_admin, "conversations", conversation.rpartition("/")[2])

    assert (await as_ana.delete(conversation, params={"permanent": "true"})).status_code == 409
    assert (await as_ana.post(f"{conversation}/restore")).status_code == 200


async def test_an_undone_import_leaves_what_is_held(
    as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    line = b'{"id": "one", "title": "Imported", "messages": [{"role": "user", "content": "words"}]}\n'
    imported = (await as_ana.post("/api/imports", content=line)).json()["id"]
    await as_ana.get(f"/api/imports/{imported}", params={"wait": 30})
    await place(as_admin, "users", ana.id)

    undo = (await as_ana.post(f"/api/imports/{imported}/undo", params={"force": "true"})).json()["id"]
    done = (await as_ana.get(f"/api/imports/{undo}", params={"wait": 30})).json()

    assert (done["state"], done["removed"], done["kept"]) == ("completed", 0, 1)
    assert len((await as_ana.get("/api/conversations")).json()["items"]) == 1


async def test_a_hold_is_placed_once_on_what_is_there(
    as_admin: httpx.AsyncClient, ana: Person, conversation: str
) -> None:
    await place(as_admin, "users", ana.id)
    body = {"resource": "users", "target_id": str(ana.id), "reason": "again"}

    assert (await as_admin.post("/api/holds", json=body)).status_code == 409
    for resource in ("users", "conversations"):
        nobody = {"resource": resource, "target_id": str(ObjectId()), "reason": "case 7"}
        assert (await as_admin.post("/api/holds", json=nobody)).status_code == 404
    assert (await as_admin.post("/api/holds", json={**body, "reason": " "})).status_code == 422
    assert len((await as_admin.get("/api/holds")).json()["items"]) == 1


async def test_what_is_being_removed_cannot_be_held(
    as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person, conversation: str, services: Services
) -> None:
    """A removal that was cut short can only be ended."""
    id = ObjectId(conversation.rpartition("/")[2])
    await services.conversations.condemn(EVERYTHING, id, None)

    body = {"resource": "conversations", "target_id": str(id), "reason": "too late"}
    assert (await as_admin.post("/api/holds", json=body)).json()["reason"] == "purged"
    assert (await as_ana.post(f"{conversation}/restore")).json()["reason"] == "purged"
    assert (await as_ana.delete(conversation, params={"permanent": "true"})).status_code == 204


async def test_a_hold_and_a_removal_at_the_same_time_leave_all_or_nothing(
    as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, services: Services
) -> None:
    for _ in range(8):
        path = (await as_ana.post("/api/conversations", json={})).headers["location"]
        await as_ana.post(f"{path}/messages", json={"role": "user", "content": "words"})
        id = path.rpartition("/")[2]
        body = {"resource": "conversations", "target_id": id, "reason": "case 7"}

        removed, placed = await asyncio.gather(
            as_ana.delete(path, params={"permanent": "true"}), as_admin.post("/api/holds", json=body)
        )

        left = await services.conversations.messages.count(ObjectId(id))
        assert (removed.status_code, left) == ((409, 1) if placed.status_code == 201 else (204, 0))
