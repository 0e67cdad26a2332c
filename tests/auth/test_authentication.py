"""The Authorization header: who comes with it, and that no garbage in it is our fault."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.auth.schemas import KeyCreate
from app.kit.clock import now
from app.services import Services
from tests.conftest import Person

REFUSED = {
    "nothing": "",
    "scheme alone": "Bearer",
    "empty key": "Bearer ",
    "another scheme": "Digest YW5hOnB3",
    "unknown key": "Bearer vb_unknown",
    "no scheme": "{key}",
    "too long": "Bearer {key}x",
    "cut": "Bearer {cut}",
    "two keys": "Bearer {key} {key}",
    "other case": "Bearer {upper}",
    "quoted": 'Bearer "{key}"',
}


@pytest.mark.parametrize("header", REFUSED.values(), ids=REFUSED)
async def test_what_is_not_a_key_is_refused_with_a_challenge(
    anonymous: httpx.AsyncClient, ana: Person, header: str
) -> None:
    value = header.format(key=ana.key, cut=ana.key[:-1], upper=ana.key.upper())

    response = await anonymous.get("/api/users/me", headers={"Authorization": value} if header else {})

    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
    bearer, basic = response.headers.get_list("www-authenticate")
    assert bearer.startswith('Bearer realm="verbatim"')
    assert basic == 'Basic realm="verbatim", charset="UTF-8"'
    assert ana.key not in response.text


async def test_the_scheme_is_known_in_any_case(anonymous: httpx.AsyncClient, ana: Person) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        response = await anonymous.get("/api/users/me", headers={"Authorization": f"{scheme} {ana.key}"})
        assert response.status_code == 200


async def status_of(app: FastAPI, *values: bytes) -> int:
    """The status of a request with these raw Authorization headers, which a client library would not send."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/api/users/me",
        "raw_path": b"/api/users/me",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"authorization", value) for value in values],
        "server": ("test", 80),
        "client": ("test", 1),
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return int(sent[0]["status"])


_schemes = st.sampled_from([b"", b"Bearer ", b"bearer  ", b"Bearer\t", b"Basic ", b"Bearer vb_"])
_values = st.builds(lambda scheme, rest: scheme + rest, _schemes, st.binary(max_size=300))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(_values, max_size=3))
async def test_no_garbage_in_the_header_is_more_than_a_refusal(app: FastAPI, values: list[bytes]) -> None:
    assert await status_of(app, *values) == 401


async def test_an_expired_key_is_refused(services: Services, anonymous: httpx.AsyncClient, ana: Person) -> None:
    row, key = await services.keys.create(ana.id, KeyCreate(name="k", expires_at=now() + timedelta(hours=1)))
    headers = {"Authorization": f"Bearer {key}"}
    assert (await anonymous.get("/api/users/me", headers=headers)).status_code == 200

    await services.keys.rows.collection.update_one({"_id": row["_id"]}, {"$set": {"expires_at": now()}})
    with services.keys.forgetting():
        pass

    assert (await anonymous.get("/api/users/me", headers=headers)).status_code == 401


async def test_all_refusals_of_a_key_read_the_same(
    services: Services, anonymous: httpx.AsyncClient, as_admin: httpx.AsyncClient, ana: Person, ben: Person
) -> None:
    row, revoked = await services.keys.create(ben.id, KeyCreate(name="k"))
    await as_admin.delete(f"/api/keys/{row['_id']}")
    await as_admin.patch(f"/api/users/{ana.id}", json={"disabled": True})

    answers = []
    for key in ("vb_unknown", revoked, ana.key):
        response = await anonymous.get("/api/users/me", headers={"Authorization": f"Bearer {key}"})
        assert response.status_code == 401
        answers.append({name: value for name, value in response.json().items() if name != "request_id"})
    assert answers[0] == answers[1] == answers[2]
