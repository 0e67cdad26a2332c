"""What every answer says to browsers, who may ask from another page, and requests that are too long to be honest."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from app.api.chain import MAX_HEADER_BYTES, MAX_URL_BYTES
from app.config import Settings
from app.kit.hardening import SECURITY_HEADERS
from app.kit.streaming import Drain
from app.main import build_app, serve_with
from app.services import Services

PAGE = "https://chat.example.com"


@pytest.fixture
async def as_browser(settings: Settings, services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key of a server that allows the origin PAGE."""
    app = build_app(settings.model_copy(update={"allowed_origins": [PAGE]}))
    serve_with(app, services, Drain())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://api.example.com") as client:
        yield client


@pytest.mark.parametrize(
    ("path", "status"), [("/api/users/me", 200), ("/api/users/000000000000000000000000", 404), ("/nowhere", 404)]
)
async def test_every_answer_has_the_headers(as_ana: httpx.AsyncClient, path: str, status: int) -> None:
    response = await as_ana.get(path)

    assert response.status_code == status
    assert {name: response.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert "server" not in response.headers
    assert "strict-transport-security" not in response.headers


async def test_refusals_have_them_too_and_tls_stays_tls(as_browser: httpx.AsyncClient) -> None:
    response = await as_browser.get("/api/users/me")

    assert response.status_code == 401
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["strict-transport-security"].startswith("max-age=")


async def test_the_docs_may_run_their_own_script_and_no_other(anonymous: httpx.AsyncClient) -> None:
    page = await anonymous.get("/docs")
    policy = page.headers["content-security-policy"]
    scripts = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)

    assert scripts
    for script in scripts:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]


async def test_a_page_of_an_allowed_origin_may_ask_and_read(as_browser: httpx.AsyncClient) -> None:
    asked = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization, if-match"}
    preflight = await as_browser.options("/api/conversations", headers={"Origin": PAGE, **asked})
    answer = await as_browser.get("/api/conversations", headers={"Origin": PAGE})

    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == PAGE
    assert "PATCH" in preflight.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "ETag" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "https://chat.example.com.evil.example", "null"])
async def test_a_page_of_another_origin_may_not(as_browser: httpx.AsyncClient, origin: str) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "GET"}

    assert "access-control-allow-origin" not in (await as_browser.options("/api/users", headers=asked)).headers
    assert "access-control-allow-origin" not in (await as_browser.get("/api/users", headers=asked)).headers


async def test_an_address_or_headers_that_are_too_long_are_refused(as_ana: httpx.AsyncClient) -> None:
    long = await as_ana.get("/api/messages?q=" + "x" * MAX_URL_BYTES)
    fat = await as_ana.get("/api/messages", headers={"X-Fat": "x" * MAX_HEADER_BYTES})

    assert (long.status_code, long.json()["code"]) == (414, "url_too_long")
    assert (fat.status_code, fat.json()["code"]) == (431, "headers_too_large")


SAFE = {
    "environment": "production",
    "bootstrap_key": SecretStr("0123456789abcdef" * 4),
    "mongo_uri": SecretStr("mongodb://mongo1/?replicaSet=rs0"),
    "mongo_user": "verbatim",
    "mongo_password": SecretStr("secret"),
}


def test_production_takes_safe_settings() -> None:
    assert Settings(_env_file=None, **SAFE).environment == "production"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("unsafe", "sentence"),
    [
        ({"bootstrap_key": SecretStr("a" * 64)}, "BOOTSTRAP_KEY needs at least 32 random characters"),
        ({"bootstrap_key": SecretStr("short")}, "BOOTSTRAP_KEY needs at least 32 random characters"),
        ({"mongo_user": None}, "MONGO_URI names no user"),
        ({"mongo_password": None}, "MONGO_USER needs VERBATIM_MONGO_PASSWORD"),
        ({"allowed_origins": ["http://chat.example.com"]}, "without TLS"),
        ({"socket_token_in_url": True}, "SOCKET_TOKEN_IN_URL"),
        ({"trusted_proxies": "*"}, "TRUSTED_PROXIES"),
    ],
)
def test_production_refuses_what_is_unsafe_with_a_sentence(unsafe: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Settings(_env_file=None, **{**SAFE, **unsafe})  # type: ignore[arg-type]
    Settings(_env_file=None, **{**SAFE, **unsafe, "environment": "development"})  # type: ignore[arg-type]
