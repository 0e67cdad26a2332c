"""/api/auth/token: signing in with a password, what the tokens may do, and what ends them."""

from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest
from bson import ObjectId
from fastapi import FastAPI
from pydantic import SecretStr

from app.auth import memory, sessions, signing, tokens
from app.auth.tokens import AccessTokens
from app.config import Settings
from app.kit.clock import now
from app.kit.errors import Unauthenticated
from app.services import Services, build_services
from tests.auth.signing_in import PASSWORD, basic, bearer, forget, give_password, refresh, sign_in, status_of, token
from tests.conftest import Person

pytestmark = [pytest.mark.mongod, pytest.mark.usefixtures("cheap_passwords")]


@pytest.fixture
async def ana(services: Services, ana: Person) -> Person:
    await give_password(services, ana)
    return ana


async def test_a_password_opens_a_session_with_everything_that_the_role_allows(
    anonymous: httpx.AsyncClient, ana: Person, settings: Settings
) -> None:
    response = await token(anonymous, grant_type="password", username=ana.email, password=PASSWORD)
    granted = response.json()

    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert granted.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
    assert (granted["token_type"], granted["scope"]) == ("Bearer", "read write export")
    assert granted["expires_in"] == settings.access_token_minutes * 60
    me = await anonymous.get("/api/users/me", headers=bearer(granted["access_token"]))
    assert me.json()["email"] == ana.email
    header = jwt.get_unverified_header(granted["access_token"])
    assert (header["alg"], header["typ"]) == ("HS256", "at+jwt")


async def test_the_name_is_an_email_in_any_case(anonymous: httpx.AsyncClient, ana: Person) -> None:
    response = await token(anonymous, grant_type="password", username="ANA@Example.COM", password=PASSWORD)
    assert response.status_code == 200


async def test_secrets_are_stored_as_hashes_only(anonymous: httpx.AsyncClient, ana: Person, services: Services) -> None:
    granted = await sign_in(anonymous, ana)
    database = services.database.client[services.database.name]
    for name in await database.list_collection_names():
        stored = str(await database[name].find({}).to_list())
        assert granted["refresh_token"] not in stored, name
        assert granted["access_token"] not in stored, name
        assert PASSWORD not in stored, name


async def test_scopes_narrow_what_a_token_may_do(anonymous: httpx.AsyncClient, ana: Person) -> None:
    granted = await sign_in(anonymous, ana, scope="read admin")
    headers = bearer(granted["access_token"])

    assert granted["scope"] == "read"
    assert await status_of(anonymous, headers) == 200
    refused = await anonymous.patch("/api/users/me", json={"name": "A"}, headers=headers)
    assert refused.status_code == 403
    assert refused.headers["www-authenticate"] == (
        'Bearer realm="verbatim", error="insufficient_scope", scope="users:write"'
    )


RIGHT = {"grant_type": "password", "username": "{email}", "password": PASSWORD}
REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "no grant": ({}, "invalid_request"),
    "empty grant": ({"grant_type": ""}, "invalid_request"),
    "other grant": ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
    "no name": ({"grant_type": "password", "password": PASSWORD}, "invalid_request"),
    "no password": ({"grant_type": "password", "username": "{email}"}, "invalid_request"),
    "long password": ({"grant_type": "password", "username": "{email}", "password": "x" * 201}, "invalid_request"),
    "wrong password": ({"grant_type": "password", "username": "{email}", "password": "wrong"}, "invalid_grant"),
    "unknown": ({"grant_type": "password", "username": "no@example.com", "password": "wrong"}, "invalid_grant"),
    "no e-mail": ({"grant_type": "password", "username": "x" * 300, "password": "wrong"}, "invalid_grant"),
    "operator": ({"grant_type": "password", "username": '{{"$ne": 1}}', "password": "x"}, "invalid_grant"),
    "zero": ({"grant_type": "password", "username": "\0", "password": "\0"}, "invalid_grant"),
    "key as password": ({"grant_type": "password", "username": "{email}", "password": "{key}"}, "invalid_grant"),
    "scope": (
        {"grant_type": "password", "username": "{email}", "password": PASSWORD, "scope": "root"},
        "invalid_scope",
    ),
    "role": (
        {"grant_type": "password", "username": "{email}", "password": PASSWORD, "scope": "admin"},
        "invalid_scope",
    ),
    "no refresh token": ({"grant_type": "refresh_token"}, "invalid_request"),
    "refresh token": ({"grant_type": "refresh_token", "refresh_token": "vr_unknown"}, "invalid_grant"),
    "key as refresh token": ({"grant_type": "refresh_token", "refresh_token": "{key}"}, "invalid_grant"),
}


@pytest.mark.parametrize(("form", "error"), REFUSED.values(), ids=REFUSED)
async def test_a_refusal_is_what_oauth_says(
    anonymous: httpx.AsyncClient, ana: Person, form: dict[str, str], error: str
) -> None:
    response = await token(
        anonymous, **{name: value.format(email=ana.email, key=ana.key) for name, value in form.items()}
    )

    assert (response.status_code, response.json()["error"]) == (400, error)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert response.json().keys() == {"error", "error_description", "request_id"}
    assert PASSWORD not in response.text


@pytest.mark.parametrize(
    ("content", "type"),
    [
        ("grant_type=password&grant_type=password", "application/x-www-form-urlencoded"),
        ('{"grant_type": "password"}', "application/json"),
        ("--x\r\n\r\n--x--", "multipart/form-data; boundary=x"),
        ("%ff%fe=%00&grant_type=%ff", "application/x-www-form-urlencoded"),
        ("", "application/x-www-form-urlencoded"),
    ],
)
async def test_what_is_no_form_of_oauth_is_an_invalid_request(
    anonymous: httpx.AsyncClient, content: str, type: str
) -> None:
    response = await anonymous.post("/api/auth/token", content=content, headers={"Content-Type": type})
    assert response.status_code == 400
    assert response.json()["error"] in {"invalid_request", "unsupported_grant_type"}


async def test_a_form_is_bounded(anonymous: httpx.AsyncClient) -> None:
    response = await token(anonymous, grant_type="password", username="x" * 64 * 1024)
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")


async def test_parameters_in_the_url_are_refused(anonymous: httpx.AsyncClient, ana: Person) -> None:
    response = await anonymous.post(
        "/api/auth/token", params={"password": PASSWORD}, data={"grant_type": "password", "username": ana.email}
    )
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


async def test_what_swagger_sends_besides_is_ignored(anonymous: httpx.AsyncClient, ana: Person) -> None:
    granted = await sign_in(anonymous, ana, client_id="docs", client_secret="", scope="read", state="x")
    assert granted["scope"] == "read"


async def test_a_token_is_useless_when_it_is_over(
    anonymous: httpx.AsyncClient, ana: Person, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted = await sign_in(anonymous, ana)
    later = now() + timedelta(seconds=granted["expires_in"] + tokens.LEEWAY + 1)
    assert await status_of(anonymous, bearer(granted["access_token"])) == 200

    for module in (memory, tokens, sessions):
        monkeypatch.setattr(module, "now", lambda: later)

    assert services.access.memory._recall(services.access.digests(granted["access_token"])) is None


CHANGES: dict[str, tuple[dict[str, Any], int]] = {
    "disabled": ({"disabled": True}, 401),
    "other password": ({"password": "another password"}, 401),
    "no password": ({"password": None}, 401),
    "same role": ({"role": "user"}, 200),
}


@pytest.mark.parametrize(("change", "status"), CHANGES.values(), ids=CHANGES)
async def test_what_changes_about_a_user_counts_at_once(
    anonymous: httpx.AsyncClient, as_admin: httpx.AsyncClient, ana: Person, change: dict[str, Any], status: int
) -> None:
    granted = await sign_in(anonymous, ana)
    headers, password = bearer(granted["access_token"]), basic(ana.email, PASSWORD)
    assert await status_of(anonymous, headers) == await status_of(anonymous, password) == 200

    assert (await as_admin.patch(f"/api/users/{ana.id}", json=change)).status_code == 200

    assert await status_of(anonymous, headers) == await status_of(anonymous, password) == status
    assert (await refresh(anonymous, granted["refresh_token"])).status_code == (200 if status == 200 else 400)


async def test_ones_own_new_password_ends_the_sessions_of_the_old_one(
    anonymous: httpx.AsyncClient, ana: Person
) -> None:
    granted = await sign_in(anonymous, ana)
    headers = bearer(granted["access_token"])

    changed = await anonymous.patch("/api/users/me", json={"password": "a new password"}, headers=headers)

    assert changed.status_code == 200
    assert await status_of(anonymous, headers) == 401
    sessions = await anonymous.get("/api/auth/sessions", headers=bearer(ana.key))
    assert sessions.json()["items"] == []
    assert await status_of(anonymous, bearer(ana.key)) == 200
    assert (await sign_in(anonymous, ana, "a new password"))["scope"] == "read write export"


async def test_a_lowered_role_narrows_tokens_at_once(
    anonymous: httpx.AsyncClient, as_admin: httpx.AsyncClient, ana: Person
) -> None:
    await as_admin.patch(f"/api/users/{ana.id}", json={"role": "admin"})
    granted = await sign_in(anonymous, ana)
    headers = bearer(granted["access_token"])
    assert granted["scope"] == "read write export admin"
    new = {"email": "new@example.com", "name": "New"}
    assert (await anonymous.post("/api/users", json=new, headers=headers)).status_code == 201

    await as_admin.patch(f"/api/users/{ana.id}", json={"role": "analyst"})

    assert (await anonymous.post("/api/users", json=new, headers=headers)).status_code == 403
    assert (await refresh(anonymous, granted["refresh_token"])).json()["scope"] == "read export"


async def test_a_deleted_user_leaves_no_session(
    anonymous: httpx.AsyncClient, as_admin: httpx.AsyncClient, ana: Person, services: Services
) -> None:
    granted = await sign_in(anonymous, ana)

    assert (await as_admin.delete(f"/api/users/{ana.id}")).status_code == 204

    assert await status_of(anonymous, bearer(granted["access_token"])) == 401
    assert (await refresh(anonymous, granted["refresh_token"])).json()["error"] == "invalid_grant"
    database = services.database.client[services.database.name]
    assert await database["sessions"].count_documents({}) == 0
    assert await database["refresh_tokens"].count_documents({}) == 0


async def test_another_process_follows_within_a_second(
    anonymous: httpx.AsyncClient, ana: Person, services: Services, settings: Settings, app: FastAPI
) -> None:
    """What another process revokes is looked up again when a second has gone, which is when memory is empty."""
    other = build_services(settings, services.database)
    granted = await sign_in(anonymous, ana)
    headers = bearer(granted["access_token"])
    assert await status_of(anonymous, headers) == 200

    await other.access.sessions.end_all(ana.id)
    assert await status_of(anonymous, headers) == 200
    assert memory.REMEMBERED_SECONDS <= 1
    forget(services)

    assert await status_of(anonymous, headers) == 401
    await other.aclose()


async def test_keys_rotate_and_old_tokens_go_on_until_they_are_over(
    anonymous: httpx.AsyncClient, ana: Person, services: Services
) -> None:
    keys = services.access.signing_keys
    before = (await sign_in(anonymous, ana))["access_token"]

    await keys.rotate()
    after = (await sign_in(anonymous, ana))["access_token"]

    kids = [jwt.get_unverified_header(each)["kid"] for each in (before, after)]
    assert len(set(kids)) == 2
    assert await status_of(anonymous, bearer(before)) == await status_of(anonymous, bearer(after)) == 200
    old, new = await keys.find(kids[0]), await keys.find(kids[1])
    assert old is not None
    assert new is not None
    assert old.expires_at is not None
    assert old.expires_at >= now() + timedelta(minutes=services.settings.access_token_minutes)
    assert new.expires_at is None


async def test_a_withdrawn_key_ends_its_tokens_but_not_the_sessions(
    anonymous: httpx.AsyncClient, ana: Person, services: Services
) -> None:
    granted = await sign_in(anonymous, ana)

    await services.access.signing_keys.rotate(withdraw=True)

    assert await status_of(anonymous, bearer(granted["access_token"])) == 401
    renewed = (await refresh(anonymous, granted["refresh_token"])).json()
    assert await status_of(anonymous, bearer(renewed["access_token"])) == 200


async def test_an_old_key_is_replaced_when_something_is_signed(
    anonymous: httpx.AsyncClient, ana: Person, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await services.access.signing_keys.newest()
    later = now() + timedelta(days=services.settings.signing_key_days)
    monkeypatch.setattr(signing, "now", lambda: later)

    second = await services.access.signing_keys.newest()

    assert second.generation == first.generation + 1
    assert await services.access.signing_keys.newest() == second


async def test_of_several_processes_one_makes_the_key_and_all_know_it_at_once(
    ana: Person, services: Services, settings: Settings
) -> None:
    processes = [build_services(settings, services.database) for _ in range(3)]
    account = await services.users.rows.account(ana.id)
    assert account is not None
    client = sessions.Client("", "")

    grants = [await each.access.sessions.open(account, None, client) for each in processes]
    await processes[0].access.signing_keys.rotate()
    grants.append(await processes[0].access.sessions.open(account, None, client))

    kids = {jwt.get_unverified_header(each.access_token)["kid"] for each in grants}
    assert len(kids) == 2
    for process in processes:
        for grant in grants:
            assert (await process.access.sessions.identify(grant.access_token)).principal.user_id == ana.id
        await process.aclose()


async def test_the_stored_half_of_a_key_signs_nothing_without_the_setting(
    anonymous: httpx.AsyncClient, ana: Person, services: Services, settings: Settings
) -> None:
    secret = SecretStr("of-the-environment-and-not-of-the-database")
    other = build_services(settings.model_copy(update={"token_secret": secret}), services.database)
    thief = AccessTokens(services.access.signing_keys, life=timedelta(minutes=5))
    forged, _ = await thief.issue(ana.id, ObjectId(), ["read"], until=now() + timedelta(hours=1))
    own = AccessTokens(other.access.signing_keys, life=timedelta(minutes=5))
    issued, _ = await own.issue(ana.id, ObjectId(), ["read"], until=now() + timedelta(hours=1))

    with pytest.raises(Unauthenticated):
        await own.read(forged)
    assert (await own.read(issued)).user_id == ana.id
    await other.aclose()
