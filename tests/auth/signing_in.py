"""What the tests of passwords and tokens do over and over."""

import base64
from typing import Any

import httpx

from app.kit import security
from app.kit.repository import EVERYTHING
from app.services import Services
from app.users.schemas import MeUpdate
from tests.conftest import Person

PASSWORD = "correct horse battery"

Json = dict[str, Any]


async def give_password(services: Services, person: Person, password: str = PASSWORD) -> None:
    await services.users.patch(EVERYTHING, person.id, {"password": password}, None, MeUpdate)


async def token(client: httpx.AsyncClient, **form: str) -> httpx.Response:
    return await client.post("/api/auth/token", data=form)


async def sign_in(client: httpx.AsyncClient, person: Person, password: str = PASSWORD, **form: str) -> Json:
    """The tokens, as they were answered."""
    response = await token(client, grant_type="password", username=person.email, password=password, **form)
    assert response.status_code == 200, response.text
    granted: Json = response.json()
    return granted


async def refresh(client: httpx.AsyncClient, refresh_token: str, **form: str) -> httpx.Response:
    return await token(client, grant_type="refresh_token", refresh_token=refresh_token, **form)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


async def status_of(client: httpx.AsyncClient, headers: dict[str, str]) -> int:
    return (await client.get("/api/users/me", headers=headers)).status_code


def forget(services: Services) -> None:
    """Look everybody up again, as when a second has gone."""
    with services.keys.forgetting():
        pass


def count_hashing(monkeypatch: Any) -> list[str]:
    """The hashes that passwords are compared with from now on."""
    compared: list[str] = []
    verify = security._verify

    def counting(stored_hash: str, password: str) -> bool:
        compared.append(stored_hash)
        return verify(stored_hash, password)

    monkeypatch.setattr(security, "_verify", counting)
    return compared
