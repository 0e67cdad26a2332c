"""The server's log holds no secret, wherever in a request somebody puts one."""

import logging
from base64 import b64encode

import httpx
import pytest

from app.kit.logs import REDACTED, configure_logs
from app.kit.repository import EVERYTHING
from app.services import Services
from app.users.schemas import UserUpdate
from tests.conftest import Person

pytestmark = pytest.mark.mongod

PASSWORD = "Tr0ub4dor-and-3"
CONTENT = "what-somebody-wrote"


@pytest.fixture
def secrets(ana: Person) -> tuple[str, ...]:
    basic = b64encode(f"{ana.email}:{PASSWORD}".encode()).decode()
    return (ana.key, PASSWORD, basic, CONTENT)


async def requests(client: httpx.AsyncClient, ana: Person) -> None:
    """Requests with a key, a password, tokens and words in every place, right and wrong ones."""
    key, bearer = ana.key, {"Authorization": f"Bearer {ana.key}"}
    basic = b64encode(f"{ana.email}:{PASSWORD}".encode()).decode()
    form = {"grant_type": "password", "username": ana.email, "password": PASSWORD}
    wrong = b64encode(f"{PASSWORD}:{key}x".encode()).decode()
    for headers in (
        bearer,
        {"Authorization": f"Basic {basic}"},
        {"Authorization": f"Basic {wrong}"},
        {"Authorization": key},
        {"Authorization": f"Token {key}"},
        {"X-Api-Key": key, "Cookie": f"session={key}"},
        {**bearer, "X-Request-Id": f"{key} {PASSWORD}"},
        {**bearer, "If-Match": PASSWORD, "Idempotency-Key": PASSWORD},
        {**bearer, "User-Agent": PASSWORD, "Referer": f"https://x.example/?key={key}"},
    ):
        for method, path, body in (
            ("GET", f"/api/users/me?token={key}&password={PASSWORD}", None),
            ("GET", f"/api/messages?q={CONTENT}", None),
            ("GET", f"/api/users/{key}", None),
            ("DELETE", f"/api/keys/{key}/{key}", None),
            ("POST", "/api/conversations", {"title": CONTENT, "password": PASSWORD, "key": key}),
            ("PATCH", "/api/users/me", {"password": PASSWORD, "name": [key]}),
            ("POST", "/api/keys", {"name": CONTENT, "scopes": [key]}),
            ("POST", "/api/webhooks", {"url": f"https://user:{PASSWORD}@x.example/{key}", "events": [PASSWORD]}),
        ):
            await client.request(method, path, headers=headers, json=body)
    for data in (form, {**form, "password": key}, {**form, "username": PASSWORD}, {**form, "extra": key}):
        granted = await client.post("/api/auth/token", data=data)
        for token in ("access_token", "refresh_token"):
            if token in granted.json():
                await client.post("/api/auth/revoke", data={"token": granted.json()[token], "hint": key})
    await client.post("/api/auth/token", data={"grant_type": "refresh_token", "refresh_token": key})
    await client.post("/api/conversations", headers=bearer, content=f'{{"title": "{PASSWORD}'.encode())


async def test_no_secret_and_no_content_is_logged(
    live_url: str, services: Services, ana: Person, secrets: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    await services.users.patch(EVERYTHING, ana.id, {"password": PASSWORD}, None, UserUpdate)
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    configure_logs("debug", "json")
    try:
        async with httpx.AsyncClient(base_url=live_url) as client:
            await requests(client, ana)
    finally:
        root.handlers, root.level = handlers, level
    out, err = capfd.readouterr()
    logged = out + err

    assert "/api/users/me" in logged
    assert "login_refused" in logged
    assert not [secret for secret in secrets if secret in logged]
    assert f"/api/users/{REDACTED}" in logged
    assert "eyJ" not in logged
    stored = await services.audit.collection.find({}).to_list()
    assert stored
    assert not [secret for secret in secrets if secret in str(stored)]
