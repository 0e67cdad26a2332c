"""A person of whom something is in every collection."""

from dataclasses import dataclass

import httpx
import pytest

from app.kit.repository import EVERYTHING
from app.services import Services
from app.users.schemas import UserUpdate
from tests.conftest import Person

PASSWORD = "correct horse"


@dataclass(frozen=True)
class Life:
    """What Ana has: the paths of two conversations, of which the second one is deleted, and her secrets."""

    conversation: str
    deleted: str
    secrets: tuple[str, ...]


async def turn(client: httpx.AsyncClient, path: str, content: str) -> None:
    assert (await client.post(f"{path}/turns", json={"content": content})).status_code == 201


@pytest.fixture
async def life(
    services: Services,
    as_ana: httpx.AsyncClient,
    as_ben: httpx.AsyncClient,
    anonymous: httpx.AsyncClient,
    ana: Person,
    admin: Person,
) -> Life:
    """Ana's, by way of the API."""
    paths = []
    for title in ("Kept words", "Thrown away"):
        made = await as_ana.post("/api/conversations", json={"title": title}, headers={"Idempotency-Key": title})
        paths.append(made.headers["location"])
        await turn(as_ana, paths[-1], f"{title} by Ana")
    await as_ana.delete(paths[1])
    id = paths[0].rpartition("/")[2]
    key = (await as_ana.post("/api/keys", json={"name": "phone"})).json()["key"]
    webhook = {"url": "https://ana.example/", "events": ["message.created"]}
    made = await as_ana.post("/api/webhooks", json=webhook)
    await as_ana.post(f"{made.headers['location']}/ping")
    link = (await as_ana.post(f"{paths[0]}/links", json={"name": "for Ben"})).json()
    shared = (await as_ben.post("/api/conversations", json={"title": "Ben's"})).headers["location"]
    assert (await as_ben.put(f"{shared}/shares/{ana.id}", json={"access": "write"})).status_code in {200, 201, 204}
    hook = (await as_ana.post("/api/hooks", json={"conversation_id": id, "name": "bot"})).json()
    job = (await as_ana.post("/api/exports", json={"resource": "messages"})).json()["id"]
    assert (await as_ana.get(f"/api/exports/{job}", params={"wait": 30})).json()["state"] == "completed"
    schedule = {"name": "nightly", "export": {"resource": "messages"}}
    assert (await as_ana.post("/api/export-schedules", json=schedule)).status_code == 201
    imported = (await as_ana.post("/api/imports", content=b'{"messages": []}')).json()["id"]
    assert (await as_ana.get(f"/api/imports/{imported}", params={"wait": 30})).json()["state"] == "completed"
    await services.users.patch(EVERYTHING, ana.id, {"password": PASSWORD}, None, UserUpdate)
    form = {"grant_type": "password", "username": ana.email, "password": PASSWORD}
    token = (await anonymous.post("/api/auth/token", data=form)).json()
    secrets = (PASSWORD, ana.key, key, made.json()["secret"], hook["secret"], token["refresh_token"], link["token"])
    return Life(paths[0], paths[1], secrets)
