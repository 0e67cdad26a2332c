"""/api/users through a real client."""

import httpx

from tests.conftest import Person


async def test_a_new_user_is_stored_and_found(as_admin: httpx.AsyncClient) -> None:
    response = await as_admin.post("/api/users", json={"email": "Zoe@Example.com", "name": "Zoe"})

    assert response.status_code == 201
    assert response.json()["email"] == "zoe@example.com"
    again = await as_admin.get(response.headers["location"])
    assert again.json() == response.json()
    assert again.headers["etag"] == response.headers["etag"] == '"1"'


async def test_a_taken_email_is_a_conflict_that_names_the_field(as_admin: httpx.AsyncClient, ana: Person) -> None:
    response = await as_admin.post("/api/users", json={"email": ana.email.upper(), "name": "Other"})

    assert response.status_code == 409
    assert response.json()["fields"] == [{"field": "body.email", "message": "is taken already"}]
