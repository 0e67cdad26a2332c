"""/api/users/me: what people see and change of themselves."""

import httpx
import pytest

from app.kit.security import is_password
from app.services import Services
from tests.conftest import Person


async def test_me_is_the_user_of_the_key(as_ana: httpx.AsyncClient, ana: Person) -> None:
    me = await as_ana.get("/api/users/me")

    assert (me.status_code, me.json()["id"], me.json()["email"]) == (200, str(ana.id), ana.email)
    assert me.json() == (await as_ana.get(f"/api/users/{ana.id}")).json()
    assert (await as_ana.get("/api/users/me", headers={"If-None-Match": me.headers["etag"]})).status_code == 304


async def test_people_change_their_name_email_profile_and_password(
    as_ana: httpx.AsyncClient, services: Services
) -> None:
    patched = await as_ana.patch(
        "/api/users/me", json={"name": "Anna", "profile": {"age": 30}, "password": "correct horse"}
    )
    replaced = await as_ana.put("/api/users/me", json={"email": "ANNA@example.com", "name": "Anna"})

    assert (patched.json()["name"], patched.json()["profile"]["age"]) == ("Anna", 30)
    assert (replaced.json()["email"], replaced.json()["profile"]["age"]) == ("anna@example.com", None)
    row = await services.users.rows.collection.find_one({"email": "anna@example.com"})
    assert row is not None
    assert await is_password(row["password_hash"], "correct horse")


@pytest.mark.parametrize(
    ("name", "value"),
    [("role", "admin"), ("role", None), ("disabled", True), ("id", "66a0c0ffee66a0c0ffee66a0"), ("version", 9)],
)
async def test_people_cannot_change_their_role_or_state(as_ana: httpx.AsyncClient, name: str, value: object) -> None:
    before = (await as_ana.get("/api/users/me")).json()

    patched = await as_ana.patch("/api/users/me", json={name: value})
    replaced = await as_ana.put("/api/users/me", json={"email": "ana@example.com", "name": "Ana", name: value})

    assert replaced.status_code == 422
    assert [each["field"] for each in replaced.json()["fields"]] == [f"body.{name}"]
    if value is not None:  # null removes what is not there
        assert [each["field"] for each in patched.json()["fields"]] == [f"body.{name}"]
        assert (await as_ana.get("/api/users/me")).json() == before
    assert (await as_ana.get("/api/users/me")).json()["role"] == "user"


async def test_an_admin_stays_one_when_changing_themselves(as_admin: httpx.AsyncClient) -> None:
    replaced = await as_admin.put("/api/users/me", json={"email": "boss@example.com", "name": "Boss"})

    assert (replaced.status_code, replaced.json()["role"]) == (200, "admin")


async def test_my_email_stays_unique(as_ana: httpx.AsyncClient, ben: Person) -> None:
    response = await as_ana.patch("/api/users/me", json={"email": ben.email.upper()})

    assert response.status_code == 409
    assert response.json()["fields"][0]["field"] == "body.email"


async def test_a_stale_if_match_answers_the_current_state(as_ana: httpx.AsyncClient) -> None:
    current = (await as_ana.patch("/api/users/me", json={"name": "Anna"})).json()

    response = await as_ana.patch("/api/users/me", json={"name": "Lost"}, headers={"If-Match": '"1"'})

    assert (response.status_code, response.json()["current"]) == (412, current)


async def test_analysts_read_themselves_only(as_analyst: httpx.AsyncClient) -> None:
    assert (await as_analyst.get("/api/users/me")).json()["role"] == "analyst"
    assert (await as_analyst.patch("/api/users/me", json={"name": "A"})).status_code == 403
