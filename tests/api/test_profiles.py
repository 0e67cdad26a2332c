"""/api/users/{id}/profile: a part of the user with the user's version."""

from typing import Any

import httpx
import pytest

from tests.conftest import Person

EMPTY: dict[str, Any] = {
    "bio": None,
    "birth_date": None,
    "age": None,
    "phone": None,
    "locale": None,
    "time_zone": None,
    "addresses": [],
}
ADDRESS = {"street": "1 Main St", "city": "Bonn", "zipcode": "53111", "country": "DE"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"bio": 3}, "body.bio"),
    ({"bio": "x" * 10_001}, "body.bio"),
    ({"birth_date": "28.2.1990"}, "body.birth_date"),
    ({"age": -1}, "body.age"),
    ({"age": 1.5}, "body.age"),
    ({"phone": "call me"}, "body.phone"),
    ({"locale": "german"}, "body.locale"),
    ({"time_zone": "CEST"}, "body.time_zone"),
    ({"addresses": {}}, "body.addresses"),
    ({"addresses": [{}] * 21}, "body.addresses"),
    ({"addresses": [{}, {"city": 5}]}, "body.addresses.1.city"),
    ({"role": "admin"}, "body.role"),
    ({"version": 3}, "body.version"),
    ({"password_hash": "x"}, "body.password_hash"),
]


def path_of(person: Person) -> str:
    return f"/api/users/{person.id}/profile"


async def test_people_read_and_replace_their_own_profile(as_ana: httpx.AsyncClient, ana: Person) -> None:
    empty = await as_ana.get(path_of(ana))
    replaced = await as_ana.put(path_of(ana), json={"bio": "茶", "addresses": [{"city": "Bonn"}]})

    assert (empty.json(), empty.headers["etag"]) == (EMPTY, '"1"')
    assert replaced.json() == {**EMPTY, "bio": "茶", "addresses": [{**dict.fromkeys(ADDRESS), "city": "Bonn"}]}
    assert replaced.headers["etag"] == '"2"'
    assert (await as_ana.get(path_of(ana))).json() == replaced.json()
    me = (await as_ana.get("/api/users/me")).json()
    assert (me["profile"], me["version"], me["email"]) == (replaced.json(), 2, ana.email)


async def test_a_patch_changes_what_it_names(as_ana: httpx.AsyncClient, ana: Person) -> None:
    await as_ana.put(path_of(ana), json={"bio": "Tea", "age": 30, "addresses": [ADDRESS]})

    patched = await as_ana.patch(
        path_of(ana), json={"age": 31, "bio": None}, headers={"Content-Type": "application/merge-patch+json"}
    )
    emptied = await as_ana.patch(path_of(ana), json={"addresses": None})

    assert patched.json() == {**EMPTY, "age": 31, "addresses": [ADDRESS]}
    assert emptied.json() == {**EMPTY, "age": 31}


@pytest.mark.parametrize(
    ("body", "field"), REFUSED, ids=[f"{field}-{index}" for index, (_, field) in enumerate(REFUSED)]
)
async def test_a_wrong_field_is_refused_by_its_name(
    as_ana: httpx.AsyncClient, ana: Person, body: dict[str, Any], field: str
) -> None:
    for response in (await as_ana.put(path_of(ana), json=body), await as_ana.patch(path_of(ana), json=body)):
        assert response.status_code == 422
        assert [each["field"] for each in response.json()["fields"]] == [field]
    assert (await as_ana.get(path_of(ana))).json() == EMPTY


async def test_a_stale_if_match_answers_the_current_profile(as_ana: httpx.AsyncClient, ana: Person) -> None:
    current = (await as_ana.put(path_of(ana), json={"bio": "new"})).json()

    for method in ("PUT", "PATCH"):
        response = await as_ana.request(method, path_of(ana), json={"bio": "lost"}, headers={"If-Match": '"1"'})
        assert (response.status_code, response.json()["current"]) == (412, current)
        assert response.headers["etag"] == '"2"'
    assert (await as_ana.get(path_of(ana), headers={"If-None-Match": '"2"'})).status_code == 304


async def test_profiles_of_others_are_for_admins_to_change_and_for_analysts_to_read(
    as_ben: httpx.AsyncClient, as_analyst: httpx.AsyncClient, as_admin: httpx.AsyncClient, ana: Person
) -> None:
    statuses = {
        name: [
            (await client.get(path_of(ana))).status_code,
            (await client.put(path_of(ana), json={"bio": name})).status_code,
            (await client.patch(path_of(ana), json={"bio": name})).status_code,
        ]
        for name, client in {"ben": as_ben, "analyst": as_analyst, "admin": as_admin}.items()
    }

    assert statuses == {"ben": [404, 404, 404], "analyst": [200, 403, 403], "admin": [200, 200, 200]}
    assert (await as_admin.get(path_of(ana))).json()["bio"] == "admin"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_patch_says_that_it_is_json(as_ana: httpx.AsyncClient, ana: Person, content_type: str) -> None:
    response = await as_ana.patch(path_of(ana), content=b'{"bio": "x"}', headers={"Content-Type": content_type})

    assert response.status_code == 422
    assert response.json()["fields"][0]["field"] == "header.Content-Type"
