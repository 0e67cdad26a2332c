"""Parts of scopes: what they open, and that none of them leads to more than it says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.services import Services
from tests.auth.signing_in import bearer, give_password, refresh, sign_in, token
from tests.conftest import Person, client_of, make_person
from tests.rooms.sockets import connect

pytestmark = pytest.mark.mongod

PASSWORD = "correct horse battery"
HEARD = {"url": "https://listener.example/", "events": ["message.created"]}


@asynccontextmanager
async def with_scopes(
    app: FastAPI, maker: httpx.AsyncClient, person: Person, *scopes: str
) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a new key of theirs that has these scopes."""
    async with client_of(app, await key_of(maker, person, *scopes)) as client:
        yield client


async def key_of(maker: httpx.AsyncClient, person: Person, *scopes: str) -> Person:
    made = await maker.post("/api/keys", json={"name": "part", "scopes": scopes})
    assert (made.status_code, made.json()["scopes"]) == (201, list(scopes)), made.text
    return Person(person.id, person.email, made.json()["key"])


def refusal(response: httpx.Response) -> tuple[int, str]:
    """The status, and the scope that is missing."""
    return response.status_code, response.headers.get("www-authenticate", "").partition('scope="')[2].rstrip('"')


async def test_who_reads_conversations_reads_nothing_else(app: FastAPI, as_ana: httpx.AsyncClient, ana: Person) -> None:
    path = (await as_ana.post("/api/conversations", json={"title": "Mine"})).headers["location"]
    async with with_scopes(app, as_ana, ana, "conversations:read") as client:
        assert (await client.get(path)).status_code == 200
        assert (await client.get("/api/search", params={"q": "mine"})).status_code == 200
        assert refusal(await client.get("/api/users")) == (403, "users:read")
        assert refusal(await client.get("/api/users/me")) == (403, "users:read")
        assert refusal(await client.get("/api/keys")) == (403, "keys:read")
        assert refusal(await client.get("/api/conversations/export")) == (403, "conversations:export")
        assert refusal(await client.patch(path, json={"title": "Taken"})) == (403, "conversations:write")
        assert refusal(await client.post(f"{path}/links", json={})) == (403, "conversations:share")


async def test_a_key_makes_keys_of_its_own_parts_alone(app: FastAPI, as_ana: httpx.AsyncClient, ana: Person) -> None:
    async with with_scopes(app, as_ana, ana, "users:read", "keys:write") as client:
        made = (await client.post("/api/keys", json={"name": "same"})).json()
        narrower = await client.post("/api/keys", json={"name": "less", "scopes": ["users:read"]})
        refused = [
            refusal(await client.post("/api/keys", json={"name": "more", "scopes": [wider]}))
            for wider in ("read", "conversations:read", "admin")
        ]

    assert made["scopes"] == ["users:read", "keys:write"]
    assert narrower.json()["scopes"] == ["users:read"]
    assert refused == [(403, "read"), (403, "conversations:read"), (403, "admin")]


async def test_a_part_that_its_whole_names_already_is_not_stored_twice(as_ana: httpx.AsyncClient) -> None:
    made = await as_ana.post("/api/keys", json={"name": "k", "scopes": ["users:write", "users:read", "read"]})

    assert made.json()["scopes"] == ["read", "users:write"]


async def test_nobody_gives_themselves_a_password_to_get_around_their_scopes(
    app: FastAPI, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    async with with_scopes(app, as_ana, ana, "read", "write") as client:
        patched = await client.patch("/api/users/me", json={"password": PASSWORD})
        replaced = await client.put("/api/users/me", json={"email": ana.email, "name": "A", "password": PASSWORD})
        renamed = await client.patch("/api/users/me", json={"name": "Ana B."})

    assert (patched.status_code, replaced.status_code, renamed.status_code) == (403, 403, 200)
    assert (await as_ana.patch("/api/users/me", json={"password": PASSWORD})).status_code == 200


async def test_who_manages_accounts_makes_and_changes_no_admin(
    app: FastAPI, services: Services, as_admin: httpx.AsyncClient, admin: Person, ana: Person
) -> None:
    other = await make_person(services, "other", "admin")
    new = {"email": "new@example.com", "name": "New"}
    async with with_scopes(app, as_admin, admin, "users:read", "users:admin") as client:
        made = await client.post("/api/users", json={**new, "role": "analyst"})
        assert (await client.patch(f"/api/users/{ana.id}", json={"name": "Ana B."})).status_code == 200
        assert (await client.get(f"/api/users/{other.id}")).status_code == 200
        operations = [
            {"action": "create", "body": {"email": "x@example.com", "name": "X", "role": "admin"}},
            {"action": "update", "id": str(ana.id), "body": {"role": "admin"}},
            {"action": "update", "id": str(other.id), "body": {"password": PASSWORD}},
            {"action": "delete", "id": str(other.id)},
        ]
        bulk = await client.post("/api/users/bulk", json={"operations": operations})
        refused = [
            await client.post("/api/users", json={**new, "email": "x@example.com", "role": "admin"}),
            await client.patch(made.headers["location"], json={"role": "admin"}),
            await client.put(made.headers["location"], json={**new, "role": "admin"}),
            await client.patch(f"/api/users/{other.id}", json={"password": PASSWORD}),
            await client.patch(f"/api/users/{admin.id}", json={"password": PASSWORD}),
            await client.delete(f"/api/users/{other.id}"),
        ]

    assert made.status_code == 201
    assert [each["status"] for each in bulk.json()["results"]] == [403] * 4
    assert [each.status_code for each in refused] == [403] * 6
    account = await services.users.rows.account(other.id)
    assert account is not None
    assert account.password_hash is None


async def test_an_export_job_does_no_more_than_who_asks_for_it_may(
    app: FastAPI, as_admin: httpx.AsyncClient, admin: Person
) -> None:
    """It runs without the credential, and with all that the role allows."""
    schedule = {"name": "Nightly", "export": {"resource": "users"}}
    async with with_scopes(app, as_admin, admin, "conversations:export", "exports:read", "exports:write") as client:
        own = await client.post("/api/exports", json={"resource": "messages"})
        users = await client.post("/api/exports", json={"resource": "users"})
        planned = await client.post("/api/export-schedules", json=schedule)
        path = (await client.post("/api/export-schedules", json={**schedule, "export": {"resource": "turns"}})).headers[
            "location"
        ]
        changed = await client.patch(path, json={"export": {"resource": "users"}})
    async with with_scopes(app, as_admin, admin, "export") as client:
        log = await client.post("/api/exports", json={"resource": "audit"})

    assert own.status_code == 202
    assert [refusal(each) for each in (users, planned, changed)] == [(403, "users:export")] * 3
    assert refusal(log) == (403, "audit:read")
    assert (await as_admin.post("/api/exports", json={"resource": "audit"})).status_code == 202


async def test_a_webhook_hears_of_nothing_that_its_maker_may_not_read(
    app: FastAPI, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    heard = (await as_ana.post("/api/webhooks", json=HEARD)).headers["location"]
    async with with_scopes(app, as_ana, ana, "webhooks:write") as client:
        made = await client.post("/api/webhooks", json=HEARD)
        files = await client.post("/api/webhooks", json={**HEARD, "events": ["export.completed"]})
        turned_away = await client.patch(heard, json={"url": "https://elsewhere.example/"})
    async with with_scopes(app, as_ana, ana, "conversations:read", "webhooks:write") as client:
        allowed = await client.post("/api/webhooks", json=HEARD)

    assert [refusal(each) for each in (made, turned_away)] == [(403, "conversations:read")] * 2
    assert refusal(files) == (403, "exports:read")
    assert allowed.status_code == 201


async def test_who_may_not_write_lets_no_other_system_do_it(
    app: FastAPI, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    conversation = (await as_ana.post("/api/conversations", json={})).json()["id"]
    async with with_scopes(app, as_ana, ana, "webhooks:write") as client:
        refused = await client.post("/api/hooks", json={"conversation_id": conversation, "name": "bot"})

    assert refusal(refused) == (403, "conversations:write")


async def test_a_socket_asks_for_the_same(live_url: str, as_ana: httpx.AsyncClient, ana: Person) -> None:
    conversation = (await as_ana.post("/api/conversations", json={})).json()["id"]
    asking: dict[str, Any] = {"conversation_id": conversation, "turn": {"content": "Hello"}}
    async with connect(live_url, await key_of(as_ana, ana, "conversations:read")) as socket:
        assert (await socket.ask("subscribe", conversation_id=conversation))["type"] == "subscribed"
        refused = await socket.ask("ask", **asking)
        assert (refused["status"], refused["code"]) == (403, "forbidden")
        assert "'turns:write'" in refused["detail"]
    async with connect(live_url, await key_of(as_ana, ana, "turns:write")) as socket:
        refused = await socket.ask("subscribe", conversation_id=conversation)
        assert (refused["status"], refused["code"]) == (403, "forbidden")
        assert "'conversations:read'" in refused["detail"]
        assert (await socket.ask("ask", **asking))["type"] == "asked"


async def test_tokens_have_parts_as_well(
    anonymous: httpx.AsyncClient, services: Services, ana: Person, cheap_passwords: None
) -> None:
    await give_password(services, ana)
    granted = await sign_in(anonymous, ana, scope="read turns:write users:admin")
    narrowed = (await refresh(anonymous, granted["refresh_token"], scope="conversations:read")).json()
    wider = await refresh(anonymous, narrowed["refresh_token"], scope="users:write")
    unknown = await token(anonymous, grant_type="password", username=ana.email, password="x", scope="users:delete")

    assert granted["scope"] == "read turns:write"
    assert narrowed["scope"] == "conversations:read"
    listed = await anonymous.get("/api/conversations", headers=bearer(narrowed["access_token"]))
    refused = await anonymous.get("/api/users/me", headers=bearer(narrowed["access_token"]))
    assert (listed.status_code, refusal(refused)) == (200, (403, "users:read"))
    assert [each.json()["error"] for each in (wider, unknown)] == ["invalid_scope"] * 2
