"""Every route with its own scope, with all others and with each whole one, and where something is shared: against
tables."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import get_args

import httpx
import pytest
from fastapi import FastAPI

from app.auth import permissions
from app.auth.permissions import PERMISSIONS, WHOLES, Permission
from app.auth.schemas import KeyCreate
from app.services import Services
from app.users.model import ROLES, Role
from tests.api.test_access import MAY, PARTS, ROUTES, anas, ask, collection_of
from tests.conftest import Person, client_of, make_person

__all__ = ["anas"]

pytestmark = pytest.mark.mongod

ALWAYS = {"nothing", "anything"}
# What somebody may do with a conversation of another's that is shared with them: read it, or also write it. Whatever is
# not here is refused, also to writers.
SHARED = {
    "GET /api/conversations/{id}": "read",
    "GET /api/conversations/{id}/messages": "read",
    "POST /api/conversations/{id}/fork": "read",
    "GET /api/messages/{id}": "read",
    "GET /api/turns/{id}": "read",
    "GET /api/turns/{id}/events": "read",
    "POST /api/conversations/{id}/messages": "write",
    "POST /api/conversations/{id}/messages/bulk": "write",
    "POST /api/conversations/{id}/turns": "write",
    "POST /api/conversations/{id}/regenerate": "write",
    "POST /api/turns/{id}/cancel": "write",
    "POST /api/turns/{id}/retry": "write",
}
OF_A_CONVERSATION = [
    route
    for route in ROUTES
    if "{id}" in route
    and collection_of(route) in {"conversations", "messages", "turns"}
    and ROUTES[route] not in PARTS["admin"]
]
# The last one, which would take the rows away from those after it, were it let through.
DESTRUCTIVE = "DELETE /api/conversations/{id}"


def test_openapi_says_of_each_route_what_the_table_does(app: FastAPI) -> None:
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            route = f"{method.upper()} {path}"
            need = ROUTES[route]
            scopes = [each for scheme in operation.get("security", ()) for each in scheme.values()]
            expected = {"nothing": [], "anything": [], "signature": []}.get(need, need.split())
            if route != "GET /metrics":  # has a key of its own beside the scope
                assert all(each == expected for each in scopes), route
                assert bool(scopes) == (need not in {"nothing", "signature"}), route
                roles = [role for role in ROLES if set(expected) <= MAY[role]] if scopes else None
                assert operation.get("x-roles") == roles, route


def test_the_scopes_are_those_of_the_table() -> None:
    assert {whole: set(parts) for whole, parts in permissions.PARTS.items()} == PARTS
    assert set(PERMISSIONS) == set(get_args(Permission)) == set(PARTS).union(*PARTS.values())
    asked_for = {scope for need in ROUTES.values() for scope in need.split()}
    assert asked_for - {"nothing", "anything", "signature"} == set().union(*PARTS.values()), "a scope opens something"


@pytest.mark.parametrize("role", ROLES)
async def test_a_key_with_one_whole_scope_does_what_that_allows(app: FastAPI, services: Services, role: Role) -> None:
    person = await make_person(services, "somebody", role)
    for scope in WHOLES:
        may = ALWAYS | (PARTS[scope] & MAY[role])
        async with client_with(app, services, person, [scope]) as client:
            for route, need in ROUTES.items():
                if need != "signature":
                    status = (await ask(client, route)).status_code
                    assert (status == 403) == (not set(need.split()) <= may), (scope, route, status)
                    assert status < 500, route


async def test_each_route_asks_for_its_part_and_for_nothing_else(app: FastAPI, services: Services) -> None:
    """With the parts that the table names a route does something; with all others that there are it refuses."""
    person = await make_person(services, "somebody", "admin")
    parts = sorted(set().union(*PARTS.values()))
    for route, need in ROUTES.items():
        if need in {*ALWAYS, "signature"}:
            continue
        async with client_with(app, services, person, need.split()) as client:
            status = (await ask(client, route)).status_code
            assert status not in {401, 403}, (route, status)
            assert status < 500, (route, status)
        for missing in need.split():
            others = [each for each in parts if each != missing]
            async with client_with(app, services, person, others) as client:
                response = await ask(client, route)
                assert response.status_code == 403, route
                assert f'scope="{missing}"' in response.headers["www-authenticate"], route


@asynccontextmanager
async def client_with(
    app: FastAPI, services: Services, person: Person, scopes: Sequence[str]
) -> AsyncIterator[httpx.AsyncClient]:
    _, key = await services.keys.create(person.id, KeyCreate.model_validate({"name": "some", "scopes": scopes}))
    async with client_of(app, Person(person.id, person.email, key)) as client:
        yield client


@pytest.mark.parametrize("access", ["read", "write"])
async def test_who_something_is_shared_with_does_what_the_table_says(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, ben: Person, anas: dict[str, str], access: str
) -> None:
    conversation = anas["conversations"]
    shared = await as_ana.put(f"/api/conversations/{conversation}/shares/{ben.id}", json={"access": access})
    assert shared.status_code == 201
    for route in sorted(OF_A_CONVERSATION, key=lambda each: each == DESTRUCTIVE):
        status = (await ask(as_ben, route, anas[collection_of(route)])).status_code
        is_allowed = SHARED.get(route) in {"read", access}
        if is_allowed:
            assert status < 300 or status in {409, 422}, (route, status)
        else:
            assert status in {403, 404}, (route, status)

    after = (await as_ana.get(f"/api/conversations/{conversation}")).json()
    assert (after["title"], after["status"]) == ("Ana's", "active")
    shares = (await as_ana.get(f"/api/conversations/{conversation}/shares")).json()["items"]
    assert [each["user_id"] for each in shares] == [str(ben.id)]
