"""Every route with every single scope, and as somebody with whom a conversation is shared, against tables."""

import httpx
import pytest
from fastapi import FastAPI

from app.auth.model import PERMISSIONS, Permission
from app.auth.principal import ROLE_PERMISSIONS
from app.auth.schemas import KeyCreate
from app.services import Services
from app.users.model import ROLES, Role
from tests.api.test_access import ROUTES, anas, ask, collection_of
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
    if "{id}" in route and collection_of(route) in {"conversations", "messages", "turns"} and ROUTES[route] != "admin"
]
# The last one, which would take the rows away from those after it, were it let through.
DESTRUCTIVE = "DELETE /api/conversations/{id}"


def test_openapi_says_of_each_route_what_the_table_does(app: FastAPI) -> None:
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            route = f"{method.upper()} {path}"
            need = ROUTES[route]
            scopes = [each for scheme in operation.get("security", ()) for each in scheme.values()]
            expected = {"nothing": [], "anything": [], "signature": []}.get(need, [need])
            if route != "GET /metrics":  # has a key of its own beside the role
                assert all(each == expected for each in scopes), route
                assert bool(scopes) == (need not in {"nothing", "signature"}), route


@pytest.mark.parametrize("role", ROLES)
async def test_a_key_with_one_scope_does_what_that_allows(app: FastAPI, services: Services, role: Role) -> None:
    person = await make_person(services, "somebody", role)
    for scope in PERMISSIONS:
        await check_single_scope(app, services, person, scope, ALWAYS | ({scope} & ROLE_PERMISSIONS[role]))


async def check_single_scope(
    app: FastAPI, services: Services, person: Person, scope: Permission, may: set[str]
) -> None:
    _, key = await services.keys.create(person.id, KeyCreate(name="one", scopes=[scope]))
    async with client_of(app, Person(person.id, person.email, key)) as client:
        for route, need in ROUTES.items():
            if need == "signature":
                continue
            status = (await ask(client, route)).status_code
            assert (status == 403) == (need not in may), (route, status)
            assert status < 500, route


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
