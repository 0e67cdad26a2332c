"""Operators of the database, fields that are not the client's, and secrets: in every parameter and every body."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.exports.tables import TABLES
from tests.api.test_access import BODIES, QUERIES, anas
from tests.api.test_access import ROUTES as NEEDS
from tests.conftest import Person

__all__ = ["anas"]

pytestmark = pytest.mark.mongod

# What is stored and nobody's business.
SECRETS = ("password_hash", "hash", "epoch", "external_id", "secrets", "secret", "readers", "writers", "payer")
INTERNAL = ("windows", "waiting_turn_ids", "active_turn_id", "worker", "idempotency_key", "fingerprint", "transition")
OPERATORS: tuple[Any, ...] = ({"$ne": None}, {"$gt": ""}, {"$regex": ".*"}, {"$where": "sleep(1000)"}, [{"$ne": 1}])
FILLED = {"{id}": "0" * 24, "{user_id}": "0" * 24, "{link_id}": "0" * 24, "{delivery}": "0" * 24, "{token}": "vl_x"}


def filled(path: str) -> str:
    for name, value in FILLED.items():
        path = path.replace(name, value)
    return path


def operations(app: FastAPI) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, each in app.openapi()["paths"].items():
        yield from ((method.upper(), path, operation) for method, operation in each.items())


def is_list(method: str, path: str, operation: dict[str, Any]) -> bool:
    names = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
    return method == "GET" and "sort" in names and "{" not in path


@pytest.mark.slow
async def test_operators_in_parameters_are_names_or_words_and_nothing_else(
    app: FastAPI, as_admin: httpx.AsyncClient, anas: dict[str, str]
) -> None:
    """`name[$ne]=` as some frameworks read it, JSON in a value, and operators as names."""
    for method, path, operation in operations(app):
        if method != "GET" or path.endswith("/events") or not path.startswith("/api/"):
            continue
        names = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
        base = QUERIES.get(f"GET {path}", {})
        for name in (*names[:40], "owner_id", "password_hash"):
            for attack in (f"{name}[$ne]", f"{name}.$ne", f"${name}"):
                answer = await as_admin.get(filled(path), params={**base, attack: "1"})
                assert answer.status_code in {401, 403, 404, 422}, (path, attack)
        for attack in ("$where", "$expr", "$or", "__proto__", "filter", "where"):
            answer = await as_admin.get(filled(path), params={**base, attack: '{"$ne": 1}'})
            assert answer.status_code in {401, 403, 404, 422}, (path, attack)


@pytest.mark.slow
async def test_operators_in_the_values_of_filters_find_nothing(
    app: FastAPI, as_admin: httpx.AsyncClient, anas: dict[str, str]
) -> None:
    for method, path, operation in operations(app):
        if not is_list(method, path, operation) or "export" in path:
            continue
        for parameter in operation["parameters"]:
            name, schema = parameter["name"], parameter.get("schema", {})
            if parameter["in"] != "query" or "__" in name or name in {"after", "before", "sort", "fields"}:
                continue
            params = {**QUERIES.get(f"GET {path}", {}), name: '{"$ne": null}'}
            answer = await as_admin.get(path, params=params)
            assert answer.status_code in {200, 422}, (path, name, answer.text)
            if answer.status_code == 200:
                assert schema.get("type") in {"string", None}, (path, name)
                assert answer.json()["items"] == [], (path, name)


def variants(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The body with each of its values replaced, and with keys that are operators."""
    for name in body:
        yield from ({**body, name: operator} for operator in OPERATORS)
    for key in ("$where", "$set", "$or", "a.b", "", "owner_id.$ne"):
        yield {**body, key: "1"}


WITH_BODY = {
    **{route: body for route, body in BODIES.items() if isinstance(body, dict)},
    "POST /api/users": {"email": "new@example.com", "name": "New", "password": "correct horse"},
    "PUT /api/users/me": {"email": "new@example.com", "name": "New"},
    "PATCH /api/users/me": {"name": "New"},
    "PATCH /api/users/{id}": {"name": "New"},
    "POST /api/conversations": {"title": "New", "metadata": {"a": "b"}, "tags": ["a"]},
    "POST /api/keys": {"name": "New", "scopes": ["read"]},
    "POST /api/webhooks": {"url": "https://example.com/", "events": ["message.created"]},
    "POST /api/exports": {"resource": "users", "filters": {"role": "user"}},
    "POST /api/conversations/{id}/links": {"name": "New"},
    "POST /api/hooks": {"conversation_id": "0" * 24, "name": "New"},
}


def target(route: str, anas: dict[str, str]) -> tuple[str, str]:
    """Method and path, of a row that is there."""
    method, _, path = route.partition(" ")
    kind = next((each for each in ("conversations", "messages", "users", "webhooks") if f"/{each}/{{id}}" in path), "")
    return method, filled(path.replace("{id}", anas.get(kind, "0" * 24), 1))


async def test_operators_in_bodies_are_refused(as_admin: httpx.AsyncClient, anas: dict[str, str]) -> None:
    for route, right in WITH_BODY.items():
        method, path = target(route, anas)
        for body in variants(right):
            answer = await as_admin.request(method, path, json=body)
            assert answer.status_code in {404, 422}, (route, body, answer.text)


async def test_no_body_sets_what_is_not_the_clients(
    as_admin: httpx.AsyncClient, anas: dict[str, str], ana: Person
) -> None:
    """Mass assignment: fields that are stored, and such as other applications have."""
    for route, right in WITH_BODY.items():
        method, path = target(route, anas)
        for name in (*SECRETS, *INTERNAL, "_id", "id", "version", "created_at", "last_seq", "is_admin"):
            answer = await as_admin.request(method, path, json={**right, name: str(ana.id)})
            assert answer.status_code in {404, 422}, (route, name, answer.text)


async def test_a_user_makes_nobody_an_admin(as_ana: httpx.AsyncClient, ana: Person) -> None:
    for body in ({"role": "admin"}, {"disabled": False}, {"profile": {"role": "admin"}}):
        assert (await as_ana.patch("/api/users/me", json=body)).status_code == 422
    assert (await as_ana.patch(f"/api/users/{ana.id}", json={"role": "admin"})).status_code == 403
    assert (await as_ana.get("/api/users/me")).json()["role"] == "user"


async def test_secrets_can_neither_be_selected_nor_filtered_nor_sorted_nor_exported(
    app: FastAPI, as_admin: httpx.AsyncClient, anas: dict[str, str]
) -> None:
    lists = [path for method, path, operation in operations(app) if is_list(method, path, operation)]
    assert len(lists) > 10
    for path in lists:
        base = QUERIES.get(f"GET {path}", {})
        for secret in SECRETS + INTERNAL:
            ways = {"fields": secret, "sort": secret, secret: "x", f"{secret}__exists": "true", f"{secret}__ne": "x"}
            for name, value in {**ways, "columns": secret}.items():
                answer = await as_admin.get(path, params={**base, name: value})
                assert answer.status_code == 422, (path, name, value)


async def test_jobs_export_no_secrets(as_admin: httpx.AsyncClient) -> None:
    for resource in TABLES:
        for secret in SECRETS + INTERNAL:
            for wanted in ({"columns": [secret]}, {"filters": {secret: "x"}}, {"sort": secret}):
                answer = await as_admin.post("/api/exports", json={"resource": resource, **wanted})
                assert answer.status_code == 422, (resource, wanted)


async def test_no_answer_holds_a_secret(
    app: FastAPI, as_admin: httpx.AsyncClient, anas: dict[str, str], ana: Person
) -> None:
    for route, need in NEEDS.items():
        method, _, path = route.partition(" ")
        if method != "GET" or need in {"nothing", "signature"} or not path.startswith("/api/"):
            continue
        kind = next((each for each in anas if path.startswith(f"/api/{each}/{{id}}")), "")
        answer = await as_admin.get(
            filled(path.replace("{id}", anas.get(kind, "0" * 24), 1)), params=QUERIES.get(route)
        )
        assert ana.key not in answer.text, route
        assert "$argon2" not in answer.text, route
        for secret in ("password_hash", "secrets", "writers", "payer"):
            assert f'"{secret}"' not in answer.text, (route, secret)
