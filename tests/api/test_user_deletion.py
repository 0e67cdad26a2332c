"""DELETE /api/users/{id}: what goes with a user, what stays, and who cannot go."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI

from app.auth.schemas import KeyCreate
from app.services import Services
from tests.conftest import Person, client_of, make_person


async def test_a_deleted_user_and_their_keys_are_gone(
    as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person, services: Services
) -> None:
    assert (await as_ana.get("/api/users/me")).status_code == 200

    response = await as_admin.delete(f"/api/users/{ana.id}")

    assert (response.status_code, response.content) == (204, b"")
    assert (await as_ana.get("/api/users/me")).status_code == 401
    assert (await as_admin.get(f"/api/users/{ana.id}")).status_code == 404
    assert (await as_admin.delete(f"/api/users/{ana.id}")).status_code == 404
    assert await services.keys.rows.collection.count_documents({"user_id": ana.id}) == 0


async def test_a_user_with_conversations_needs_a_word_about_them(
    as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    await as_ana.post("/api/conversations", json={"title": "Mine"})

    refused = await as_admin.delete(f"/api/users/{ana.id}")
    nonsense = await as_admin.delete(f"/api/users/{ana.id}", params={"conversations": "burn"})

    assert (refused.status_code, refused.json()["reason"]) == (409, "user_has_conversations")
    assert nonsense.json()["fields"][0]["field"] == "query.conversations"
    assert (await as_ana.get("/api/users/me")).json()["disabled"] is False


@pytest.mark.mongod
async def test_delete_takes_the_conversations_with_messages_and_turns(
    as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, ana: Person, services: Services
) -> None:
    kept = (await as_ben.post("/api/conversations", json={"title": "Ben's"})).json()["id"]
    for title in ("One", "Two"):
        path = (await as_ana.post("/api/conversations", json={"title": title})).headers["location"]
        assert (await as_ana.post(f"{path}/turns", json={"content": "Hello"})).status_code == 201
    await as_ana.delete(path)  # hidden, but still there

    response = await as_admin.delete(f"/api/users/{ana.id}", params={"conversations": "delete"})

    assert response.status_code == 204
    assert [each["id"] for each in (await as_admin.get("/api/conversations")).json()["items"]] == [kept]
    database = services.database.client[services.database.name]
    for name in ("conversations", "messages", "turns"):
        assert await database[name].count_documents({"owner_id": ana.id}) == 0, name


async def test_keep_leaves_the_conversations_to_admins(
    as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    path = (await as_ana.post("/api/conversations", json={"title": "Mine"})).headers["location"]

    response = await as_admin.delete(f"/api/users/{ana.id}", params={"conversations": "keep"})

    assert response.status_code == 204
    assert (await as_admin.get(path)).json()["owner_id"] == str(ana.id)


async def test_a_stale_if_match_deletes_nothing(
    as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    path = (await as_ana.post("/api/conversations", json={"title": "Mine"})).headers["location"]

    response = await as_admin.delete(
        f"/api/users/{ana.id}", params={"conversations": "delete"}, headers={"If-Match": '"9"'}
    )

    assert response.status_code == 412
    assert (await as_ana.get(path)).status_code == 200


@pytest.mark.mongod
async def test_a_deletion_that_was_cut_short_locks_out_and_can_be_done_again(
    as_admin: httpx.AsyncClient,
    as_ana: httpx.AsyncClient,
    ana: Person,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await as_ana.post("/api/conversations", json={"title": "Mine"})

    async def cut(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr(type(services.privacy.purging), "purge", cut)
        with pytest.raises(asyncio.CancelledError):
            await as_admin.delete(f"/api/users/{ana.id}", params={"conversations": "delete"})

    assert (await as_ana.post("/api/conversations", json={})).status_code == 401
    assert (await as_admin.get(f"/api/users/{ana.id}")).json()["disabled"] is True
    assert (await as_admin.get("/api/erasures")).json()["items"][0]["state"] == "running"
    again = await as_admin.delete(f"/api/users/{ana.id}", params={"conversations": "delete"})
    assert again.status_code == 204
    assert (await as_admin.get("/api/conversations")).json()["items"] == []


REMOVALS = {
    "demoted": ("PATCH", {"role": "user"}),
    "demoted by null": ("PATCH", {"role": None}),
    "disabled": ("PATCH", {"disabled": True}),
    "replaced": ("PUT", {"email": "admin@example.com", "name": "Admin"}),
    "deleted": ("DELETE", None),
}


@pytest.mark.mongod  # what was written before the refusal is undone
@pytest.mark.parametrize("how", REMOVALS)
async def test_the_last_admin_cannot_be(
    as_admin: httpx.AsyncClient, admin: Person, services: Services, how: str
) -> None:
    other = await make_person(services, "other", "admin")
    disabled = await as_admin.patch(f"/api/users/{other.id}", json={"disabled": True})
    method, body = REMOVALS[how]

    response = await as_admin.request(method, f"/api/users/{admin.id}", json=body)

    assert disabled.status_code == 200  # and is none who could still get in
    assert (response.status_code, response.json()["reason"]) == (409, "last_admin")
    me = (await as_admin.get("/api/users/me")).json()
    assert (me["role"], me["disabled"], me["version"]) == ("admin", False, 1)


@pytest.mark.mongod
async def test_the_last_admin_cannot_be_removed_in_bulk(as_admin: httpx.AsyncClient, admin: Person) -> None:
    operations = [
        {"action": "update", "id": str(admin.id), "body": {"role": "user"}},
        {"action": "delete", "id": str(admin.id)},
    ]

    for headers in ({}, {"Idempotency-Key": "away"}):
        response = await as_admin.post("/api/users/bulk", json={"operations": operations}, headers=headers)
        assert [each["error"]["reason"] for each in response.json()["results"]] == ["last_admin", "last_admin"]


@pytest.mark.mongod
@pytest.mark.parametrize("how", REMOVALS)
async def test_admins_who_remove_each_other_at_once_leave_one(
    app: FastAPI, admin: Person, services: Services, how: str
) -> None:
    admins = [admin, *[await make_person(services, f"admin{number}", "admin") for number in range(1, 4)]]
    method, _ = REMOVALS[how]

    async def remove(by: Person, whom: Person) -> int:
        body = {"email": whom.email, "name": "Admin"} if method == "PUT" else REMOVALS[how][1]
        async with client_of(app, by) as client:
            return (await client.request(method, f"/api/users/{whom.id}", json=body)).status_code

    around = zip(admins, [*admins[1:], admins[0]], strict=True)
    statuses = await asyncio.gather(*(remove(by, whom) for by, whom in around))

    assert await services.users.rows.has_enabled_admin()
    assert sum(status in {200, 204} for status in statuses) <= len(admins) - 1
    assert set(statuses) <= {200, 204, 401, 403, 409}


async def test_a_user_deleted_while_a_key_is_made_leaves_no_way_in(
    app: FastAPI, as_admin: httpx.AsyncClient, ana: Person, services: Services
) -> None:
    await as_admin.delete(f"/api/users/{ana.id}")
    _, late = await services.keys.create(ana.id, KeyCreate(name="late"))

    async with client_of(app, Person(ana.id, ana.email, late)) as client:
        assert (await client.get("/api/users/me")).status_code == 401
