"""/api/users through a real client: what is stored, what is shown, what is refused."""

import asyncio
from typing import Any

import httpx
import pytest

from app.kit.security import is_password
from app.services import Services
from tests.conftest import Person, make_person

ADDRESS = {"street": "1 Main St", "city": "Bonn", "zipcode": "53111", "country": "DE"}
PROFILE = {
    "bio": "Likes tea 茶",
    "birth_date": "1990-02-28",
    "age": 36,
    "phone": "+49 228 1234",
    "locale": "de-DE",
    "time_zone": "Europe/Berlin",
    "addresses": [ADDRESS],
}
NEW = {"email": "Zoe@Example.com", "name": "Zoe", "profile": PROFILE}
READ_ONLY = {
    "id": "66a0c0ffee66a0c0ffee66a0",
    "_id": "66a0c0ffee66a0c0ffee66a0",
    "version": 7,
    "created_at": "2020-01-01T00:00:00Z",
    "updated_at": "2020-01-01T00:00:00Z",
    "password_hash": "x",
    "admin_lock": "66a0c0ffee66a0c0ffee66a0",
}
REFUSED = [
    ({"name": "Z"}, "body.email"),
    ({"email": "zoe", "name": "Z"}, "body.email"),
    ({"email": "z@x.org", "name": " "}, "body.name"),
    ({"email": "z@x.org", "name": "Z", "role": "root"}, "body.role"),
    ({"email": "z@x.org", "name": "Z", "disabled": "no"}, "body.disabled"),
    ({"email": "z@x.org", "name": "Z", "password": "short"}, "body.password"),
    ({"email": "z@x.org", "name": "Z", "profile": {"age": "9"}}, "body.profile.age"),
    ({"email": "z@x.org", "name": "Z", "profile": {"age": 151}}, "body.profile.age"),
    ({"email": "z@x.org", "name": "Z", "profile": {"birth_date": "1990-02-30"}}, "body.profile.birth_date"),
    ({"email": "z@x.org", "name": "Z", "profile": {"time_zone": "Mars/Base"}}, "body.profile.time_zone"),
    (
        {"email": "z@x.org", "name": "Z", "profile": {"addresses": [{"planet": "Mars"}]}},
        "body.profile.addresses.0.planet",
    ),
]


def fields_of(response: httpx.Response) -> list[str]:
    assert response.status_code == 422, response.text
    return [each["field"] for each in response.json()["fields"]]


async def test_a_new_user_is_stored_and_found(as_admin: httpx.AsyncClient) -> None:
    response = await as_admin.post("/api/users", json=NEW)

    assert response.status_code == 201
    assert list(response.json()) == [
        *("id", "email", "name", "role", "disabled", "profile", "version", "created_at", "updated_at")
    ]
    assert response.json()["email"] == "zoe@example.com"
    assert response.json()["profile"] == PROFILE
    assert (response.json()["role"], response.json()["disabled"]) == ("user", False)
    assert response.headers["location"] == f"/api/users/{response.json()['id']}"
    again = await as_admin.get(response.headers["location"])
    assert again.json() == response.json()
    assert again.headers["etag"] == response.headers["etag"] == '"1"'


@pytest.mark.parametrize(("body", "field"), REFUSED, ids=[field for _, field in REFUSED])
async def test_a_wrong_field_is_refused_by_its_name(
    as_admin: httpx.AsyncClient, ana: Person, body: dict[str, Any], field: str
) -> None:
    patch = {name: value for name, value in body.items() if field == f"body.{name}" or name == "profile"}

    assert fields_of(await as_admin.post("/api/users", json=body)) == [field]
    assert fields_of(await as_admin.put(f"/api/users/{ana.id}", json=body)) == [field]
    if patch:
        assert fields_of(await as_admin.patch(f"/api/users/{ana.id}", json=patch)) == [field]


@pytest.mark.parametrize("name", READ_ONLY)
async def test_a_field_that_clients_do_not_write_is_refused(
    as_admin: httpx.AsyncClient, ana: Person, name: str
) -> None:
    before = (await as_admin.get(f"/api/users/{ana.id}")).json()
    extra = {name: READ_ONLY[name]}
    whole = {"email": "z@x.org", "name": "Z", **extra}

    assert fields_of(await as_admin.post("/api/users", json=whole)) == [f"body.{name}"]
    assert fields_of(await as_admin.put(f"/api/users/{ana.id}", json=whole)) == [f"body.{name}"]
    assert fields_of(await as_admin.patch(f"/api/users/{ana.id}", json=extra)) == [f"body.{name}"]
    assert (await as_admin.get(f"/api/users/{ana.id}")).json() == before


async def test_a_taken_email_is_a_conflict_that_names_the_field(
    as_admin: httpx.AsyncClient, ana: Person, ben: Person
) -> None:
    taken = [{"field": "body.email", "message": "is taken already"}]
    body = {"email": ana.email.upper(), "name": "Other"}

    for response in (
        await as_admin.post("/api/users", json=body),
        await as_admin.put(f"/api/users/{ben.id}", json=body),
        await as_admin.patch(f"/api/users/{ben.id}", json={"email": body["email"]}),
    ):
        assert (response.status_code, response.json()["fields"]) == (409, taken)


@pytest.mark.mongod
async def test_of_twenty_creates_of_one_email_at_once_one_wins(as_admin: httpx.AsyncClient) -> None:
    emails = ["zoe@example.com" if index % 2 else "ZOE@Example.COM" for index in range(20)]
    headers = [{"Idempotency-Key": f"zoe-{index}"} if index % 3 else {} for index in range(20)]

    responses = await asyncio.gather(
        *(
            as_admin.post("/api/users", json={"email": email, "name": "Zoe"}, headers=each)
            for email, each in zip(emails, headers, strict=True)
        )
    )

    assert sorted(response.status_code for response in responses) == [201] + [409] * 19
    listed = await as_admin.get("/api/users", params={"email": "zoe@example.com", "count": "exact"})
    assert listed.json()["total"] == 1


async def test_put_replaces_all_but_the_password(as_admin: httpx.AsyncClient, services: Services) -> None:
    id = (await as_admin.post("/api/users", json={**NEW, "password": "correct horse", "role": "analyst"})).json()["id"]

    replaced = await as_admin.put(f"/api/users/{id}", json={"email": "zoe@x.org", "name": "Z"})

    assert replaced.status_code == 200
    assert replaced.json()["role"] == "user"
    assert replaced.json()["profile"] == {**dict.fromkeys(PROFILE), "addresses": []}
    assert replaced.headers["etag"] == '"2"'
    stored = await services.users.rows.collection.find_one({"email": "zoe@x.org"})
    assert stored is not None
    assert await is_password(stored["password_hash"], "correct horse")


async def test_patch_merges_into_the_profile_and_replaces_lists(as_admin: httpx.AsyncClient) -> None:
    id = (await as_admin.post("/api/users", json=NEW)).json()["id"]
    second = {"city": "Köln"}

    patched = await as_admin.patch(
        f"/api/users/{id}", json={"profile": {"bio": None, "age": 37, "addresses": [ADDRESS, second]}}
    )

    assert patched.status_code == 200
    assert patched.json()["profile"] == {
        **PROFILE,
        "bio": None,
        "age": 37,
        "addresses": [ADDRESS, {**dict.fromkeys(ADDRESS), **second}],
    }
    assert (await as_admin.patch(f"/api/users/{id}", json={"profile": None})).json()["profile"]["addresses"] == []
    assert fields_of(await as_admin.patch(f"/api/users/{id}", json={"email": None})) == ["body.email"]


async def test_a_password_is_kept_as_argon2_and_removed_by_null(
    as_admin: httpx.AsyncClient, services: Services
) -> None:
    created = await as_admin.post("/api/users", json={**NEW, "password": "correct horse"})
    path = created.headers["location"]

    async def stored() -> str | None:
        row = await services.users.rows.collection.find_one({"email": "zoe@example.com"})
        assert row is not None
        return str(row["password_hash"]) if row["password_hash"] else None

    first = await stored()
    assert first is not None
    assert first.startswith("$argon2id$")
    assert await is_password(first, "correct horse")
    assert not await is_password(first, "correct horsf")
    await as_admin.patch(path, json={"name": "Zoë"})
    assert await stored() == first
    await as_admin.patch(path, json={"password": "battery staple"})
    second = await stored()
    assert second is not None
    assert await is_password(second, "battery staple")
    await as_admin.patch(path, json={"password": None})
    assert await stored() is None


async def test_a_password_and_its_hash_appear_nowhere(
    as_admin: httpx.AsyncClient, services: Services, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    created = await as_admin.post(
        "/api/users", json={**NEW, "password": "correct horse"}, headers={"Idempotency-Key": "zoe"}
    )
    path = created.headers["location"]
    stored = await services.users.rows.collection.find_one({"email": "zoe@example.com"})
    assert stored is not None
    answers = [
        created,
        await as_admin.get(path),
        await as_admin.get("/api/users"),
        await as_admin.patch(path, json={"password": "correct horse"}),
        await as_admin.put(path, json={**NEW, "password": "correct horse"}, headers={"If-Match": '"99"'}),
        await as_admin.post("/api/users", json={**NEW, "password": "correct horse", "role": "root"}),
        await as_admin.get("/api/users/export", params={"format": "jsonl"}),
        await as_admin.get("/api/users/export", params={"format": "csv"}),
    ]

    logged = "".join(capfd.readouterr()) + caplog.text
    for text in [*(answer.text for answer in answers), logged]:
        assert "correct horse" not in text
        assert "argon2" not in text
        assert "password_hash" not in text


@pytest.mark.parametrize("hidden", ["password_hash", "password", "admin_lock"])
@pytest.mark.parametrize(
    "query",
    ["fields={}", "sort={}", "sort=-{}", "{}=x", "{}__has=x", "{}__exists=true", "{}__gte=x"],
)
async def test_what_is_hidden_cannot_be_asked_for(as_admin: httpx.AsyncClient, hidden: str, query: str) -> None:
    asked = query.format(hidden)

    assert fields_of(await as_admin.get(f"/api/users?{asked}"))
    assert fields_of(await as_admin.get(f"/api/users/export?{asked.replace('fields', 'columns')}"))


async def test_a_stale_if_match_answers_the_current_state(as_admin: httpx.AsyncClient, ana: Person) -> None:
    path = f"/api/users/{ana.id}"
    current = (await as_admin.patch(path, json={"name": "Anna"})).json()
    stale = {"If-Match": '"1"'}

    for response in (
        await as_admin.put(path, json={"email": ana.email, "name": "A"}, headers=stale),
        await as_admin.patch(path, json={"name": "A"}, headers=stale),
        await as_admin.delete(path, headers=stale),
    ):
        assert (response.status_code, response.json()["current"]) == (412, current)
        assert response.headers["etag"] == '"2"'
    assert (await as_admin.get(path)).json() == current
    assert (await as_admin.patch(path, json={"name": "A"}, headers={"If-Match": '"2"'})).status_code == 200


async def test_an_unchanged_user_is_not_sent_again(as_admin: httpx.AsyncClient, ana: Person) -> None:
    path = f"/api/users/{ana.id}"
    tag = (await as_admin.get(path)).headers["etag"]

    unchanged = await as_admin.get(path, headers={"If-None-Match": tag})
    await as_admin.patch(path, json={"name": "Anna"})
    changed = await as_admin.get(path, headers={"If-None-Match": tag})

    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert (changed.status_code, changed.json()["name"]) == (200, "Anna")


@pytest.mark.mongod
async def test_concurrent_patches_of_different_fields_are_all_kept(as_admin: httpx.AsyncClient, ana: Person) -> None:
    path = f"/api/users/{ana.id}"
    changes: list[dict[str, Any]] = [
        {"bio": "b"},
        {"age": 9},
        {"phone": "12345"},
        {"locale": "de"},
        {"birth_date": "2001-01-01"},
    ]

    responses = await asyncio.gather(*(as_admin.patch(path, json={"profile": change}) for change in changes))

    assert [response.status_code for response in responses] == [200] * len(changes)
    user = (await as_admin.get(path)).json()
    assert user["version"] == 1 + len(changes)
    assert {name: user["profile"][name] for change in changes for name in change} == {
        name: value for change in changes for name, value in change.items()
    }


async def test_lists_show_what_one_may_see(
    as_admin: httpx.AsyncClient, as_analyst: httpx.AsyncClient, as_ana: httpx.AsyncClient, services: Services
) -> None:
    await make_person(services, "ben")

    async def names(client: httpx.AsyncClient, **params: str) -> list[str]:
        return [each["name"] for each in (await client.get("/api/users", params=params)).json()["items"]]

    assert await names(as_admin, sort="name") == ["Admin", "Ana", "Analyst", "Ben"]
    assert await names(as_analyst, sort="-name") == ["Ben", "Analyst", "Ana", "Admin"]
    assert await names(as_admin, role="analyst") == ["Analyst"]
    assert await names(as_ana) == ["Ana"]
    assert await names(as_ana, email="ben@example.com") == []
