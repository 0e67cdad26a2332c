"""Tokens of an external issuer: who they let in, which keys they are verified with, and what no token gets around."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from aiohttp import web
from pydantic import ValidationError

from app.auth import jwks
from app.auth.credentials import Bearer
from app.config import Settings
from app.oidc_settings import OidcSettings
from app.services import Services
from tests.auth.identity_provider import AUDIENCE, IdentityProvider, public_jwk
from tests.auth.signing_in import Json, bearer, forget, status_of
from tests.conftest import Person

DISCOVERY = "/.well-known/openid-configuration"


@pytest.fixture
async def issuer() -> AsyncIterator[IdentityProvider]:
    async with IdentityProvider() as provider:
        yield provider


@pytest.fixture
def settings(settings: Settings, issuer: IdentityProvider, request: pytest.FixtureRequest) -> Settings:
    """A test changes the issuer's settings with `@with_settings(...)`."""
    oidc = OidcSettings(issuer=issuer.url, audience=AUDIENCE, **getattr(request, "param", {}))
    return settings.model_copy(update={"oidc": oidc})


def with_settings(**settings: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("settings", [settings], indirect=True)


async def me(client: httpx.AsyncClient, token: str) -> Json:
    response = await client.get("/api/users/me", headers=bearer(token))
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return found


async def test_a_verified_email_that_is_known_gets_in_and_is_tied_to_its_subject(
    anonymous: httpx.AsyncClient, issuer: IdentityProvider, ana: Person, ben: Person, services: Services
) -> None:
    first = issuer.token(email="Ana@Example.com", email_verified=True)
    assert (await me(anonymous, first))["id"] == str(ana.id)
    assert (await me(anonymous, issuer.token()))["id"] == str(ana.id)

    other_mail = issuer.token(email=ben.email, email_verified=True)
    assert (await me(anonymous, other_mail))["id"] == str(ana.id)
    same_mail = issuer.token(sub="subject-2", email=ana.email, email_verified=True)
    assert await status_of(anonymous, bearer(same_mail)) == 403
    principal = await services.access.authenticate(Bearer(first), "test")
    assert (principal.credential.kind, principal.key_id, principal.session_id) == ("issuer", None, None)


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"email": "ana@example.com"},
        {"email": "ana@example.com", "email_verified": False},
        {"email": "ana@example.com", "email_verified": "false"},
        {"email": "ana@example.com", "email_verified": ["true"]},
        {"email": ["ana@example.com"], "email_verified": True},
        {"email": {"$ne": ""}, "email_verified": True},
        {"email": "ana@example.com\ud800", "email_verified": True},
        {"email": "nobody@example.com", "email_verified": True},
        {"email": "not an address", "email_verified": True},
    ],
)
async def test_who_is_not_known_for_sure_is_refused_and_nobody_is_made(
    anonymous: httpx.AsyncClient, issuer: IdentityProvider, ana: Person, services: Services, claims: dict[str, Any]
) -> None:
    response = await anonymous.get("/api/users/me", headers=bearer(issuer.token(**claims)))

    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert await services.users.rows.collection.count_documents({}) == 1


@with_settings(provision=True)
async def test_users_are_made_where_the_operator_wants_it(
    anonymous: httpx.AsyncClient, issuer: IdentityProvider, services: Services
) -> None:
    token = issuer.token(email="New@Example.com", email_verified=True, name=" Néw ")

    found = await asyncio.gather(*(me(anonymous, token) for _ in range(5)))

    assert {each["id"] for each in found} == {found[0]["id"]}
    assert (found[0]["email"], found[0]["name"], found[0]["role"]) == ("new@example.com", "Néw", "user")
    assert await services.users.rows.collection.count_documents({}) == 1


ROLES: dict[str, tuple[dict[str, Any], str | None]] = {
    "one": ({"realm": {"roles": ["staff", "verbatim-analysts"]}}, "analyst"),
    "the highest": ({"realm": {"roles": ["verbatim-analysts", "verbatim-admins"]}}, "admin"),
    "text": ({"realm": {"roles": "verbatim-admins"}}, "admin"),
    "dotted name": ({"realm.roles": ["verbatim-analysts"]}, "analyst"),
    "other": ({"realm": {"roles": ["staff"]}}, None),
    "other shape": ({"realm": {"roles": {"verbatim-admins": True}}}, None),
    "nested": ({"realm": {"roles": [["verbatim-admins"]]}}, None),
    "absent": ({}, None),
}


@with_settings(role_claim="realm.roles", roles={"verbatim-admins": "admin", "verbatim-analysts": "analyst"})
@pytest.mark.parametrize(("claims", "role"), ROLES.values(), ids=ROLES)
async def test_claims_give_roles(
    anonymous: httpx.AsyncClient, issuer: IdentityProvider, ana: Person, claims: dict[str, Any], role: str | None
) -> None:
    headers = bearer(issuer.token(email=ana.email, email_verified=True, **claims))
    new = {"email": "new@example.com", "name": "New"}

    assert await status_of(anonymous, headers) == (403 if role is None else 200)
    assert (await anonymous.post("/api/users", json=new, headers=headers)).status_code == (
        201 if role == "admin" else 403
    )


@with_settings(role_claim="groups", roles={"a": "admin"}, default_role="user", provision=True)
async def test_a_default_role_is_for_who_has_none(anonymous: httpx.AsyncClient, issuer: IdentityProvider) -> None:
    token = issuer.token(email="new@example.com", email_verified=True, groups=["b"])
    assert (await me(anonymous, token))["role"] == "user"
    admin = issuer.token(groups=["a"])
    response = await anonymous.post("/api/users", json={"email": "x@example.com", "name": "X"}, headers=bearer(admin))
    assert response.status_code == 201


async def test_who_is_disabled_here_is_out(
    anonymous: httpx.AsyncClient, as_admin: httpx.AsyncClient, issuer: IdentityProvider, ana: Person
) -> None:
    token = issuer.token(email=ana.email, email_verified=True)
    await me(anonymous, token)

    await as_admin.patch(f"/api/users/{ana.id}", json={"disabled": True})

    assert await status_of(anonymous, bearer(token)) == 401


async def test_keys_are_fetched_once_and_again_for_a_key_that_is_new(
    anonymous: httpx.AsyncClient, issuer: IdentityProvider, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.gather(*(me(anonymous, issuer.token(email=ana.email, email_verified=True)) for _ in range(5)))
    assert issuer.fetches == [DISCOVERY, "/keys"]

    issuer.keys = [public_jwk("two")]
    new = issuer.token(kid="two", key="two")
    assert await status_of(anonymous, bearer(new)) == 401  # too soon to ask again
    for number in range(5):
        assert await status_of(anonymous, bearer(issuer.token(kid=f"made up {number}"))) == 401
    assert len(issuer.fetches) == 2

    later(monkeypatch, 31)
    assert await status_of(anonymous, bearer(new)) == 200
    assert len(issuer.fetches) == 4
    assert await status_of(anonymous, bearer(issuer.token(sub="again"))) == 401  # the old key was withdrawn


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    before = vars(jwks)["monotonic"]
    monkeypatch.setattr(jwks, "monotonic", lambda: before() + seconds)


async def test_an_issuer_that_is_away_is_done_without_for_a_day(
    anonymous: httpx.AsyncClient,
    issuer: IdentityProvider,
    ana: Person,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = issuer.token(email=ana.email, email_verified=True)
    await me(anonymous, token)
    issuer.answers[DISCOVERY] = web.Response(status=503)

    for seconds, status in ((jwks.FRESH_SECONDS + 1, 200), (jwks.STALE_SECONDS, 503)):
        later(monkeypatch, seconds)
        forget(services)
        response = await anonymous.get("/api/users/me", headers=bearer(token))
        assert response.status_code == status
    assert response.headers["retry-after"] == "5"


BROKEN: dict[str, tuple[str, web.Response]] = {
    "error": (DISCOVERY, web.Response(status=500)),
    "redirect": (DISCOVERY, web.Response(status=302, headers={"Location": "http://169.254.169.254/"})),
    "another issuer": (DISCOVERY, web.Response(text='{"issuer": "https://evil.example.com", "jwks_uri": "x"}')),
    "no json": (DISCOVERY, web.Response(text="<html>")),
    "deep": (DISCOVERY, web.Response(text="[" * 100_000)),
    "a list": (DISCOVERY, web.Response(text="[]")),
    "too large": ("/keys", web.Response(text='{"keys": [' + " " * jwks.MAX_BYTES + "]}")),
    "no keys": ("/keys", web.Response(text='{"keys": []}')),
    "odd keys": (
        "/keys",
        web.Response(text='{"keys": [1, null, {}, {"kty": "RSA"}, {"kty": "RSA", "n": 5}]}'),
    ),
    "symmetric": ("/keys", web.Response(text='{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "one"}]}')),
}


@pytest.mark.parametrize(("path", "answer"), BROKEN.values(), ids=BROKEN)
async def test_an_issuer_that_answers_nonsense_lets_nobody_in(
    anonymous: httpx.AsyncClient, issuer: IdentityProvider, ana: Person, path: str, answer: web.Response
) -> None:
    issuer.answers[path] = answer

    response = await anonymous.get("/api/users/me", headers=bearer(issuer.token(email=ana.email, email_verified=True)))

    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert len(issuer.fetches) <= 2


@with_settings(timeout=0.2)
async def test_an_issuer_that_hangs_is_waited_for_so_long(
    anonymous: httpx.AsyncClient, issuer: IdentityProvider, ana: Person
) -> None:
    issuer.hold = asyncio.Event()
    token = issuer.token(email=ana.email, email_verified=True)
    async with asyncio.timeout(10):
        assert await status_of(anonymous, bearer(token)) == 503
        assert await status_of(anonymous, bearer(token)) == 503
    issuer.hold.set()
    assert len(issuer.fetches) == 1


async def test_a_token_without_kid_is_of_the_only_key(
    anonymous: httpx.AsyncClient, issuer: IdentityProvider, ana: Person, services: Services
) -> None:
    token = issuer.token(kid=None, email=ana.email, email_verified=True)
    assert await status_of(anonymous, bearer(token)) == 200


async def test_without_an_issuer_its_tokens_are_nobodys(
    anonymous: httpx.AsyncClient, issuer: IdentityProvider, ana: Person, app: Any
) -> None:
    services: Services = app.state.services
    app.state.services = replace(services, access=replace(services.access, issuer=None))
    assert await status_of(anonymous, bearer(issuer.token(email=ana.email, email_verified=True))) == 401
    assert issuer.fetches == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "http://id.example.com"},
        {"issuer": "ftp://id.example.com"},
        {"issuer": "https://"},
        {"issuer": "https://user:pw@id.example.com"},
        {"issuer": "https://id.example.com", "jwks_url": "http://10.0.0.1/keys"},
        {"issuer": "https://id.example.com", "algorithms": ["HS256"]},
        {"issuer": "https://id.example.com", "algorithms": ["none"]},
        {"issuer": "https://id.example.com", "algorithms": []},
        {"issuer": "https://id.example.com", "role_claim": "roles"},
        {"issuer": "https://id.example.com", "roles": {"a": "admin"}},
        {"issuer": "https://id.example.com", "roles": {"a": "root"}, "role_claim": "roles"},
        {"issuer": "https://id.example.com", "audience": ""},
    ],
    ids=str,
)
def test_settings_that_would_be_unsafe_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OidcSettings(**{"audience": "a", **wrong})
