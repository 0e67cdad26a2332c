"""/api/keys: made once, shown once, bounded, and useless from the moment they are revoked."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.auth.credentials import Bearer
from app.auth.permissions import WHOLES
from app.services import Services
from tests.conftest import Person, client_of

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "body.name"),
    ({"name": " "}, "body.name"),
    ({"name": "x" * 101}, "body.name"),
    ({"name": "k", "scopes": []}, "body.scopes"),
    ({"name": "k", "scopes": ["root"]}, "body.scopes.0"),
    ({"name": "k", "scopes": "read"}, "body.scopes"),
    ({"name": "k", "expires_at": "2020-01-01T00:00:00Z"}, "body.expires_at"),
    ({"name": "k", "expires_at": "2100-01-01T00:00:00"}, "body.expires_at"),
    ({"name": "k", "expires_at": "tomorrow"}, "body.expires_at"),
    ({"name": "k", "user_id": "me"}, "body.user_id"),
    ({"name": "k", "quota": {"cost_per_month": True}}, "body.quota.cost_per_month"),
    ({"name": "k", "quota": {"cost_per_day": "1"}}, "body.quota.cost_per_day"),
    ({"name": "k", "key": "vb_chosen"}, "body.key"),
    ({"name": "k", "hash": "x"}, "body.hash"),
    ({"name": "k", "prefix": "x"}, "body.prefix"),
    ({"name": "k", "last_used_at": None}, "body.last_used_at"),
]


def with_key(app: FastAPI, person: Person, key: str) -> httpx.AsyncClient:
    return client_of(app, Person(person.id, person.email, key))


async def mint(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post("/api/keys", json={"name": "k", **fields})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


async def test_a_key_is_shown_once_and_works(
    app: FastAPI, as_ana: httpx.AsyncClient, ana: Person, services: Services
) -> None:
    response = await as_ana.post("/api/keys", json={"name": "laptop"})
    made = response.json()

    assert response.status_code == 201
    assert made["key"].startswith(made["prefix"])
    assert (made["user_id"], made["scopes"]) == (str(ana.id), ["read", "write", "export"])
    again = await as_ana.get(response.headers["location"])
    assert again.json() == {name: value for name, value in made.items() if name != "key"}
    assert again.headers["etag"] == response.headers["etag"]
    listed = await as_ana.get("/api/keys")
    assert made["key"] not in again.text + listed.text
    assert "hash" not in again.text + listed.text
    stored = await services.keys.rows.collection.find_one({"name": "laptop"})
    assert made["key"] not in str(stored)
    async with with_key(app, ana, made["key"]) as client:
        assert (await client.get("/api/users/me")).json()["email"] == ana.email


async def test_a_replay_answers_the_same_key_without_its_secret(as_ana: httpx.AsyncClient, services: Services) -> None:
    once = {"Idempotency-Key": "laptop"}

    first = await as_ana.post("/api/keys", json={"name": "laptop"}, headers=once)
    replay = await as_ana.post("/api/keys", json={"name": "laptop"}, headers=once)
    other = await as_ana.post("/api/keys", json={"name": "phone"}, headers=once)

    assert (replay.status_code, replay.headers["idempotency-replayed"]) == (201, "true")
    assert replay.json() == {**first.json(), "key": None}
    assert replay.headers["location"] == first.headers["location"]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    database = services.database.client[services.database.name]
    record = await database["idempotency_records"].find_one({})
    assert first.json()["key"] not in str(record)


@pytest.mark.parametrize(
    ("body", "field"), REFUSED, ids=[f"{field}-{index}" for index, (_, field) in enumerate(REFUSED)]
)
async def test_a_wrong_field_is_refused_by_its_name(
    as_ana: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    response = await as_ana.post("/api/keys", json=body)

    assert response.status_code == 422
    assert [each["field"] for each in response.json()["fields"]] == [field]


async def test_a_key_cannot_make_a_wider_one(app: FastAPI, as_ana: httpx.AsyncClient, ana: Person) -> None:
    narrow = await mint(as_ana, scopes=["read", "write"])

    async with with_key(app, ana, narrow["key"]) as client:
        for wider in ("export", "admin"):
            refused = await client.post("/api/keys", json={"name": "k", "scopes": ["read", wider]})
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert (await mint(client))["scopes"] == ["read", "write"]
        assert (await mint(client, scopes=["write", "read", "read"]))["scopes"] == ["read", "write"]
    assert (await as_ana.post("/api/keys", json={"name": "k", "scopes": ["admin"]})).status_code == 403


async def test_scopes_limit_what_a_key_may_do(
    app: FastAPI, as_admin: httpx.AsyncClient, admin: Person, ana: Person
) -> None:
    requests = {
        "read": ("GET", "/api/users", None),
        "write": ("PATCH", "/api/users/me", {"name": "Same"}),
        "export": ("GET", "/api/users/export", None),
        "admin": ("PUT", f"/api/users/{ana.id}", {"email": ana.email, "name": "Ana"}),
    }
    for scope in WHOLES:
        key = (await mint(as_admin, scopes=[scope]))["key"]
        async with with_key(app, admin, key) as client:
            allowed = {
                name
                for name, (method, path, body) in requests.items()
                if (await client.request(method, path, json=body)).status_code == 200
            }
        assert allowed == {scope}


async def test_an_admins_key_without_the_scope_admin_changes_only_what_is_theirs(
    app: FastAPI, as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, admin: Person, ana: Person
) -> None:
    path = (await as_ana.post("/api/conversations", json={"title": "Ana's"})).headers["location"]
    key = (await mint(as_admin, scopes=["read", "write"]))["key"]

    async with with_key(app, admin, key) as client:
        assert (await client.get(path)).status_code == 200
        assert (await client.patch(path, json={"title": "Taken"})).status_code == 404
        assert (await client.put(f"/api/users/{ana.id}/profile", json={})).status_code == 404
        assert (await client.patch("/api/users/me", json={"name": "Me"})).status_code == 200
        assert (await client.post("/api/keys", json={"name": "k", "user_id": str(ana.id)})).status_code == 403
    assert (await as_ana.get(path)).json()["title"] == "Ana's"


async def test_admins_make_keys_for_others_bounded_by_the_others_role(
    app: FastAPI, as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person, ben: Person
) -> None:
    made = await mint(as_admin, user_id=str(ana.id))
    nobody = await as_admin.post("/api/keys", json={"name": "k", "user_id": "66a0c0ffee66a0c0ffee66a0"})

    async with with_key(app, ana, made["key"]) as client:
        assert (await client.get("/api/users/me")).json()["email"] == ana.email
        assert (await client.post("/api/users", json={"email": "x@example.com", "name": "X"})).status_code == 403
    assert nobody.json()["fields"] == [{"field": "body.user_id", "message": "there is no such user"}]
    assert (await as_ana.post("/api/keys", json={"name": "k", "user_id": str(ben.id)})).status_code == 403


async def test_a_revoked_key_is_refused_at_once(app: FastAPI, as_ana: httpx.AsyncClient, ana: Person) -> None:
    made = await mint(as_ana)

    async with with_key(app, ana, made["key"]) as client:
        assert (await client.get("/api/users/me")).status_code == 200
        assert (await as_ana.delete(f"/api/keys/{made['id']}", headers={"If-Match": '"9"'})).status_code == 412
        assert (await client.get("/api/users/me")).status_code == 200
        assert (await as_ana.delete(f"/api/keys/{made['id']}")).status_code == 204
        refused = await client.get("/api/users/me")
    assert refused.status_code == 401
    assert (await as_ana.delete(f"/api/keys/{made['id']}")).status_code == 404


async def test_a_key_can_revoke_itself(as_ana: httpx.AsyncClient) -> None:
    own = (await as_ana.get("/api/keys")).json()["items"][0]["id"]

    assert (await as_ana.delete(f"/api/keys/{own}")).status_code == 204
    assert (await as_ana.get("/api/keys")).status_code == 401


async def test_an_expiry_is_kept_as_the_instant_it_names(as_ana: httpx.AsyncClient) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    zoned = tomorrow.astimezone(tz=None).isoformat()

    made = await mint(as_ana, expires_at=zoned)

    assert datetime.fromisoformat(made["expires_at"]) == tomorrow


async def test_keys_of_others_are_for_admins(
    as_admin: httpx.AsyncClient, as_analyst: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person, analyst: Person
) -> None:
    made = await mint(as_ana)

    assert (await as_analyst.get(f"/api/keys/{made['id']}")).status_code == 404
    owners = {each["user_id"] for each in (await as_analyst.get("/api/keys")).json()["items"]}
    assert owners == {str(analyst.id)}
    listed = (await as_admin.get("/api/keys", params={"user_id": str(ana.id), "sort": "created_at"})).json()["items"]
    assert [each["name"] for each in listed] == ["test", "k"]
    assert (await as_admin.delete(f"/api/keys/{made['id']}")).status_code == 204


@pytest.mark.parametrize("query", ["hash=x", "fields=hash", "sort=hash", "hash__has=a", "prefix__has=vb", "q=vb"])
async def test_the_hash_cannot_be_asked_for(as_ana: httpx.AsyncClient, query: str) -> None:
    assert (await as_ana.get(f"/api/keys?{query}")).status_code == 422


async def test_the_last_use_is_noted(as_ana: httpx.AsyncClient, services: Services) -> None:
    made = await mint(as_ana)
    assert made["last_used_at"] is None

    await services.access.authenticate(Bearer(made["key"]), "test")
    await services.keys.aclose()

    used = (await as_ana.get(f"/api/keys/{made['id']}")).json()["last_used_at"]
    assert abs(datetime.now(UTC) - datetime.fromisoformat(used)) < timedelta(minutes=1)
