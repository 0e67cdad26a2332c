"""Who may do what: every route of the application against one table."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from bson import ObjectId
from fastapi import FastAPI

from app.auth.schemas import KeyCreate
from app.auth.sessions import Client
from app.services import Services
from tests.api.calls import fields_at_fault
from tests.conftest import Person, client_of

# What a route asks for: all of the scopes named; "anything" is any credential.
ROUTES = {
    "GET /health/live": "nothing",
    "GET /health/ready": "nothing",
    "GET /metrics": "metrics:read",
    "GET /docs": "nothing",
    "GET /openapi.json": "nothing",
    "GET /capabilities": "anything",
    "POST /api/users": "users:admin",
    "GET /api/users": "users:read",
    "GET /api/users/export": "users:export",
    "POST /api/users/bulk": "users:admin",
    "GET /api/users/me": "users:read",
    "GET /api/users/me/usage": "stats:read",
    "PUT /api/users/me": "users:write",
    "PATCH /api/users/me": "users:write",
    "GET /api/users/{id}": "users:read",
    "PUT /api/users/{id}": "users:admin",
    "PATCH /api/users/{id}": "users:admin",
    "DELETE /api/users/{id}": "users:admin",
    "GET /api/users/{id}/data": "users:export",
    "GET /api/users/{id}/profile": "users:read",
    "PUT /api/users/{id}/profile": "users:write",
    "PATCH /api/users/{id}/profile": "users:write",
    "POST /api/conversations": "conversations:write",
    "GET /api/conversations": "conversations:read",
    "GET /api/conversations/export": "conversations:export",
    "GET /api/conversations/export/training": "conversations:export",
    "GET /api/conversations/export/training/report": "conversations:export",
    "POST /api/conversations/bulk": "conversations:write",
    "GET /api/conversations/{id}": "conversations:read",
    "PUT /api/conversations/{id}": "conversations:write",
    "PATCH /api/conversations/{id}": "conversations:write",
    "DELETE /api/conversations/{id}": "conversations:write",
    "POST /api/conversations/{id}/restore": "conversations:write",
    "GET /api/conversations/{id}/messages": "conversations:read",
    "POST /api/conversations/{id}/messages": "conversations:write",
    "POST /api/conversations/{id}/messages/bulk": "conversations:write",
    "POST /api/conversations/{id}/turns": "turns:write",
    "POST /api/conversations/{id}/regenerate": "turns:write",
    "POST /api/conversations/{id}/fork": "conversations:write",
    "GET /api/conversations/{id}/shares": "conversations:read",
    "PUT /api/conversations/{id}/shares/{user_id}": "conversations:share",
    "DELETE /api/conversations/{id}/shares/{user_id}": "conversations:share",
    "GET /api/conversations/{id}/links": "conversations:read",
    "POST /api/conversations/{id}/links": "conversations:share",
    "DELETE /api/conversations/{id}/links/{link_id}": "conversations:share",
    "GET /api/shared/{token}": "nothing",
    "GET /api/shared/{token}/messages": "nothing",
    "GET /api/messages": "conversations:read",
    "GET /api/messages/export": "conversations:export",
    "GET /api/messages/{id}": "conversations:read",
    "PATCH /api/messages/{id}": "conversations:write",
    "GET /api/search": "conversations:read",
    "GET /api/stats/messages": "stats:read",
    "GET /api/stats/usage": "stats:read",
    "GET /api/turns": "conversations:read",
    "GET /api/turns/export": "conversations:export",
    "GET /api/turns/{id}": "conversations:read",
    "GET /api/turns/{id}/events": "conversations:read",
    "POST /api/turns/{id}/cancel": "turns:write",
    "POST /api/turns/{id}/retry": "turns:write",
    "POST /api/exports": "exports:write",
    "GET /api/exports": "exports:read",
    "GET /api/exports/{id}": "exports:read",
    "GET /api/exports/{id}/file": "exports:read",
    "GET /api/exports/{id}/manifest": "exports:read",
    "POST /api/exports/{id}/cancel": "exports:write",
    "DELETE /api/exports/{id}": "exports:write",
    "POST /api/export-schedules": "exports:write",
    "GET /api/export-schedules": "exports:read",
    "GET /api/export-schedules/{id}": "exports:read",
    "PATCH /api/export-schedules/{id}": "exports:write",
    "DELETE /api/export-schedules/{id}": "exports:write",
    "POST /api/imports": "imports:write",
    "GET /api/imports": "imports:read",
    "GET /api/imports/{id}": "imports:read",
    "GET /api/imports/{id}/errors": "imports:read",
    "POST /api/imports/{id}/undo": "imports:write",
    "POST /api/imports/{id}/cancel": "imports:write",
    "DELETE /api/imports/{id}": "imports:write",
    "POST /api/keys": "keys:write",
    "POST /api/auth/token": "nothing",
    "POST /api/auth/revoke": "nothing",
    "POST /api/auth/logout": "anything",
    "GET /api/auth/sessions": "sessions",
    "DELETE /api/auth/sessions/{id}": "sessions",
    "GET /api/keys": "keys:read",
    "GET /api/keys/{id}": "keys:read",
    "DELETE /api/keys/{id}": "keys:write",
    "POST /api/webhooks": "webhooks:write",
    "GET /api/webhooks": "webhooks:read",
    "GET /api/webhooks/{id}": "webhooks:read",
    "PATCH /api/webhooks/{id}": "webhooks:write",
    "DELETE /api/webhooks/{id}": "webhooks:write",
    "POST /api/webhooks/{id}/rotate": "webhooks:write",
    "POST /api/webhooks/{id}/ping": "webhooks:write",
    "GET /api/webhooks/{id}/deliveries": "webhooks:read",
    "POST /api/webhooks/{id}/deliveries/{delivery}/redeliver": "webhooks:write",
    "POST /api/hooks": "webhooks:write conversations:write",
    "GET /api/hooks": "webhooks:read",
    "DELETE /api/hooks/{id}": "webhooks:write",
    "POST /api/hooks/{id}": "signature",
    "GET /api/audit": "audit:read",
    "GET /api/audit/export": "audit:read",
    "GET /api/audit/{id}": "audit:read",
    "POST /api/holds": "privacy:write",
    "GET /api/holds": "privacy:read",
    "GET /api/holds/{id}": "privacy:read",
    "DELETE /api/holds/{id}": "privacy:write",
    "GET /api/erasures": "privacy:read",
    "GET /api/erasures/{id}": "privacy:read",
    "POST /api/retention": "privacy:write",
    "GET /api/retention": "privacy:read",
    "GET /api/retention/{id}": "privacy:read",
    "PATCH /api/retention/{id}": "privacy:write",
    "DELETE /api/retention/{id}": "privacy:write",
    "POST /api/retention/{id}/dry-run": "privacy:read",
}
# What each scope that has parts implies.
PARTS = {
    "read": {
        *("conversations:read", "users:read", "stats:read", "imports:read", "keys:read", "sessions", "webhooks:read"),
    },
    "write": {
        *("conversations:write", "conversations:share", "turns:write", "users:write", "imports:write", "keys:write"),
        "webhooks:write",
    },
    "export": {"conversations:export", "users:export", "exports:read", "exports:write"},
    "admin": {"users:admin", "audit:read", "privacy:read", "privacy:write", "metrics:read"},
}
MAY = {
    "anonymous": {"nothing"},
    "user": {"nothing", "anything", *PARTS["read"], *PARTS["write"], *PARTS["export"]},
    "analyst": {"nothing", "anything", *PARTS["read"], *PARTS["export"]},
    "admin": {"nothing", "anything", *PARTS["read"], *PARTS["write"], *PARTS["export"], *PARTS["admin"]},
}
# Bodies that are right, so that nothing but the id can be at fault.
MESSAGE = {"role": "user", "content": "Hello"}
BODIES: dict[str, Any] = {
    "PUT /api/users/{id}": {"email": "taken@example.com", "name": "Taken"},
    "PUT /api/users/{id}/profile": {"bio": "taken"},
    "PATCH /api/users/{id}/profile": {"bio": "taken"},
    "PUT /api/conversations/{id}": {"title": "Taken"},
    "PATCH /api/conversations/{id}": {"title": "Taken"},
    "POST /api/conversations/{id}/messages": MESSAGE,
    "POST /api/conversations/{id}/messages/bulk": {"messages": [MESSAGE]},
    "POST /api/conversations/{id}/turns": {"content": "Hello"},
    "POST /api/conversations/{id}/fork": {"seq": 0},
    "PATCH /api/messages/{id}": {"metadata": {"taken": "yes"}},
    "PUT /api/conversations/{id}/shares/{user_id}": {"access": "write"},
    "PATCH /api/webhooks/{id}": {"description": "taken"},
    "PATCH /api/export-schedules/{id}": {"name": "Taken"},
}
# Parameters without which a route answers nothing.
QUERIES = {"GET /api/search": {"q": "e"}}
WITH_ID = [route for route, need in ROUTES.items() if "{id}" in route and need != "signature"]
WRITES = [
    route
    for route, need in ROUTES.items()
    if not route.startswith("GET") and need not in {"nothing", "anything", "signature", "sessions", "privacy:read"}
]
LISTS = [
    route
    for route, need in ROUTES.items()
    if route.startswith("GET /api") and "{" not in route and "/me" not in route and need not in PARTS["admin"]
]


def routes_of(app: FastAPI) -> Iterator[str]:
    for path, operations in app.openapi()["paths"].items():
        yield from (f"{method.upper()} {path}" for method in operations)
    for route in app.routes:
        if not getattr(route, "include_in_schema", True):
            yield f"GET {route.path}"  # type: ignore[attr-defined]


async def ask(client: httpx.AsyncClient, route: str, id: object = "66a0c0ffee66a0c0ffee66a0") -> httpx.Response:
    method, _, path = route.partition(" ")
    body = None if method in {"GET", "DELETE"} else BODIES.get(route, {})
    path = re.sub("{[a-z_]+}", str(ObjectId()), path.replace("{id}", str(id)))
    return await client.request(method, path, json=body, params=QUERIES.get(route))


def test_every_route_is_in_the_table(app: FastAPI) -> None:
    assert set(routes_of(app)) == set(ROUTES)


@pytest.fixture
def clients(
    anonymous: httpx.AsyncClient, as_ana: httpx.AsyncClient, as_analyst: httpx.AsyncClient, as_admin: httpx.AsyncClient
) -> dict[str, httpx.AsyncClient]:
    return {"anonymous": anonymous, "user": as_ana, "analyst": as_analyst, "admin": as_admin}


@pytest.mark.mongod  # summaries are added up by the database
@pytest.mark.parametrize("who", MAY)
async def test_a_role_may_do_what_the_table_says(clients: dict[str, httpx.AsyncClient], who: str) -> None:
    for route, need in ROUTES.items():
        refusal = 401 if who == "anonymous" or need == "signature" else 403
        response = await ask(clients[who], route)
        lacking = [each for each in need.split() if each not in MAY[who]]
        if not lacking:
            assert response.status_code not in {401, 403}, route
            assert response.status_code < 500, route
        else:
            assert (response.status_code, response.json()["status"]) == (refusal, refusal), route
            challenge = response.headers["www-authenticate"]
            assert ("insufficient_scope" in challenge) == (refusal == 403), route
            assert (f'scope="{lacking[0]}"' in challenge) == (refusal == 403), route


async def test_a_read_only_key_writes_nothing(app: FastAPI, admin: Person, ana: Person, services: Services) -> None:
    for person in (admin, ana):
        _, key = await services.keys.create(person.id, KeyCreate(name="read", scopes=["read"]))
        async with client_of(app, Person(person.id, person.email, key)) as client:
            statuses = {route: (await ask(client, route)).status_code for route in WRITES}
        assert statuses == dict.fromkeys(WRITES, 403)


def collection_of(route: str) -> str:
    return route.partition("/{id}")[0].rpartition("/")[2]


@pytest.fixture
async def anas(as_ana: httpx.AsyncClient, ana: Person, services: Services) -> dict[str, str]:
    """An id of Ana's for each collection."""
    conversation = (await as_ana.post("/api/conversations", json={"title": "Ana's"})).json()["id"]
    turn = (await as_ana.post(f"/api/conversations/{conversation}/turns", json={"content": "Hello"})).json()
    key = (await as_ana.post("/api/keys", json={"name": "Ana's"})).json()["id"]
    webhook = {"url": "https://ana.example/", "events": ["message.created"]}
    hook = {"conversation_id": conversation, "name": "Ana's"}
    exported = {"resource": "users"}
    export = (await as_ana.post("/api/exports", json=exported)).json()["id"]
    assert (await as_ana.get(f"/api/exports/{export}", params={"wait": 30})).json()["state"] == "completed"
    schedule = (await as_ana.post("/api/export-schedules", json={"name": "Ana's", "export": exported})).json()["id"]
    imported = (await as_ana.post("/api/imports", content=b'{"messages": []}')).json()["id"]
    assert (await as_ana.get(f"/api/imports/{imported}", params={"wait": 30})).json()["state"] == "completed"
    account = await services.users.rows.account(ana.id)
    assert account is not None
    await services.access.sessions.open(account, None, Client("127.0.0.1", "test"))
    session = (await as_ana.get("/api/auth/sessions")).json()["items"][0]["id"]
    return {
        "users": str(ana.id),
        "conversations": conversation,
        "messages": turn["user_message"]["id"],
        "turns": turn["id"],
        "keys": key,
        "webhooks": (await as_ana.post("/api/webhooks", json=webhook)).json()["id"],
        "hooks": (await as_ana.post("/api/hooks", json=hook)).json()["id"],
        "exports": export,
        "export-schedules": schedule,
        "imports": imported,
        **{name: str(ObjectId()) for name in ("audit", "holds", "erasures", "retention")},  # those are nobody's
        "sessions": session,
    }


@pytest.mark.mongod  # a turn is part of what is Ana's
async def test_what_is_anas_does_not_exist_for_ben(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, anas: dict[str, str]
) -> None:
    shown = [
        route
        for route in WITH_ID
        if "GET" in route and ROUTES[route] not in PARTS["admin"] and not route.endswith("/data")
    ]
    before = {route: (await ask(as_ana, route, anas[collection_of(route)])).text for route in shown}

    for route in WITH_ID:
        hers = await ask(as_ben, route, anas[collection_of(route)])
        nobodys = await ask(as_ben, route, ObjectId())
        assert hers.status_code == (403 if ROUTES[route] in PARTS["admin"] else 404), route
        same = {name: value for name, value in hers.json().items() if name != "request_id"}
        assert same == {name: value for name, value in nobodys.json().items() if name != "request_id"}, route

    after = {route: (await ask(as_ana, route, anas[collection_of(route)])).text for route in before}
    assert after == before


@pytest.mark.mongod  # a turn is part of what is Ana's
async def test_bens_lists_and_exports_show_nothing_of_anas(as_ben: httpx.AsyncClient, anas: dict[str, str]) -> None:
    for route in LISTS:
        response = await ask(as_ben, route)
        assert response.status_code == 200, route
        assert not [id for id in anas.values() if id in response.text], route


@pytest.mark.mongod  # a turn is part of what is Ana's
async def test_bulk_reaches_nothing_of_anas(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, anas: dict[str, str]
) -> None:
    id = anas["conversations"]
    operations = [{"action": "update", "id": id, "body": {"title": "Taken"}}, {"action": "delete", "id": id}]

    response = await as_ben.post("/api/conversations/bulk", json={"operations": operations})

    assert [each["status"] for each in response.json()["results"]] == [404, 404]
    assert (await as_ana.get(f"/api/conversations/{id}")).json()["title"] == "Ana's"


@pytest.mark.mongod  # a turn is part of what is Ana's
async def test_nothing_can_be_given_to_or_taken_from_another_by_naming_them(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, ana: Person, anas: dict[str, str]
) -> None:
    given = {"title": "Yours", "owner_id": str(ana.id)}

    assert (await as_ben.post("/api/conversations", json=given)).status_code == 403
    bulk = await as_ben.post("/api/conversations/bulk", json={"operations": [{"action": "create", "body": given}]})
    assert [each["status"] for each in bulk.json()["results"]] == [403]
    assert (await as_ben.get("/api/conversations", params={"owner_id": str(ana.id)})).json()["items"] == []
    assert [each["id"] for each in (await as_ana.get("/api/conversations")).json()["items"]] == [anas["conversations"]]


async def test_no_route_overlooks_a_parameter_it_does_not_know(as_admin: httpx.AsyncClient) -> None:
    """Those that read their parameters themselves have to look for it too, and name what else is wrong with them."""
    for line in ROUTES:
        method, _, path = line.partition(" ")
        if method == "GET" and path.startswith("/api/"):
            response = await as_admin.get(re.sub("{[a-z_]+}", "0" * 24, path), params={"nothing": "1"})
            assert response.status_code in (404, 422), line
            if response.status_code == 422:
                assert "query.nothing" in fields_at_fault(response), line


async def test_one_that_declares_headers_itself_reads_its_query_strictly(as_admin: httpx.AsyncClient) -> None:
    response = await as_admin.post(f"/api/hooks/{ObjectId()}", params={"nothing": "1"}, json={})
    assert fields_at_fault(response) == ["query.nothing"]
