"""/api/webhooks: what users do with them, and what nobody can."""

import json
from typing import Any, get_args

import httpx
import pytest
from bson import ObjectId
from pydantic import BaseModel

from app.config import Settings
from app.conversations.resource import CONVERSATIONS, MESSAGES
from app.conversations.schemas import ConversationRead
from app.exports.resource import EXPORTS
from app.exports.schemas import ExportRead
from app.services import Services
from app.turns.resource import TURNS
from app.turns.schemas import TurnBrief
from app.webhooks.model import EventType, NoticeType
from app.webhooks.payloads import ToldMessage
from tests.api.calls import fields_at_fault, items, new_conversation, say
from tests.conftest import Person
from tests.webhooks.conftest import log_of, shown, subscribe
from tests.webhooks.receiver import Receiver

pytestmark = pytest.mark.mongod

URL = "https://hooks.example.com/in"
NEW = {"url": URL, "events": ["turn.completed"]}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Nobody delivers anything unless a test says so."""
    return settings.model_copy(update={"webhook_delivery": False})


async def test_a_webhook_is_made_read_changed_and_removed(as_ana: httpx.AsyncClient, ana: Person) -> None:
    made = await as_ana.post("/api/webhooks", json={**NEW, "events": ["turn.completed"] * 2, "description": "d"})
    webhook = made.json()

    assert made.status_code == 201
    assert webhook.pop("secret").startswith("whsec_")
    assert (webhook["owner_id"], webhook["url"], webhook["events"]) == (str(ana.id), URL, ["turn.completed"])
    assert (webhook["active"], webhook["hears_all"], webhook["failing_since"]) == (True, False, None)
    path = made.headers["location"]
    assert (await as_ana.get(path)).json() == webhook
    assert await items(as_ana, "/api/webhooks", active="true") == [webhook]
    assert await items(as_ana, "/api/webhooks", active="false") == []
    patched = await as_ana.patch(path, json={"active": False}, headers={"If-Match": made.headers["etag"]})
    assert (patched.status_code, patched.json()["active"]) == (200, False)
    assert (await as_ana.patch(path, json={}, headers={"If-Match": made.headers["etag"]})).status_code == 412
    assert (await as_ana.delete(path)).status_code == 204
    assert (await as_ana.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**NEW, "url": "http://hooks.example.com/"}, "body.url"),
        ({**NEW, "url": "https://10.0.0.1/"}, "body.url"),
        ({**NEW, "url": "https://user:pw@hooks.example.com/"}, "body.url"),
        ({**NEW, "url": "https://[::ffff:127.0.0.1]/"}, "body.url"),
        ({**NEW, "url": "https://2130706433/"}, "body.url"),
        ({**NEW, "url": "javascript:alert(1)"}, "body.url"),
        ({**NEW, "events": []}, "body.events"),
        ({**NEW, "events": ["webhook.ping"]}, "body.events.0"),
        ({**NEW, "events": ["*"]}, "body.events.0"),
        ({**NEW, "owner_id": "66a0c0ffee66a0c0ffee66a0"}, "body.owner_id"),
        ({**NEW, "secret": "whsec_AAAA"}, "body.secret"),
        ({**NEW, "secrets": []}, "body.secrets"),
        ({**NEW, "active_from": 0}, "body.active_from"),
        ({**NEW, "failing_since": "2026-01-01T00:00:00Z"}, "body.failing_since"),
    ],
)
async def test_what_is_refused(as_ana: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    assert fields_at_fault(await as_ana.post("/api/webhooks", json=body)) == [field]
    webhook = await subscribe(as_ana, URL)
    change = {name: value for name, value in body.items() if value != NEW.get(name)}
    assert fields_at_fault(await as_ana.patch(f"/api/webhooks/{webhook['id']}", json=change)) == [field]


async def test_only_admins_hear_of_everybody(as_ana: httpx.AsyncClient, as_admin: httpx.AsyncClient) -> None:
    refused = await as_ana.post("/api/webhooks", json={**NEW, "hears_all": True})
    webhook = await subscribe(as_ana, URL)
    changed = await as_ana.patch(f"/api/webhooks/{webhook['id']}", json={"hears_all": True})

    assert (refused.status_code, changed.status_code) == (403, 403)
    assert (await as_admin.post("/api/webhooks", json={**NEW, "hears_all": True})).json()["hears_all"]


async def test_a_secret_is_shown_once(as_ana: httpx.AsyncClient, as_admin: httpx.AsyncClient) -> None:
    header = {"Idempotency-Key": "once"}
    first = (await as_ana.post("/api/webhooks", json=NEW, headers=header)).json()
    replay = (await as_ana.post("/api/webhooks", json=NEW, headers=header)).json()
    rotated = (await as_ana.post(f"/api/webhooks/{first['id']}/rotate", json={})).json()

    assert replay == {**first, "secret": None}
    secrets = [first["secret"], rotated["secret"]]
    assert len(set(secrets)) == 2
    path = f"/api/webhooks/{first['id']}"
    for client in (as_ana, as_admin):
        for response in (await client.get(path), await client.get("/api/webhooks"), await client.patch(path, json={})):
            assert response.status_code == 200
            assert not [secret for secret in secrets if secret in response.text]
        for parameter in ({"fields": "secrets"}, {"sort": "secrets"}, {"secrets": "x"}, {"secrets__exists": "true"}):
            assert (await client.get("/api/webhooks", params=parameter)).status_code == 422


async def test_secrets_have_an_end(as_ana: httpx.AsyncClient) -> None:
    webhook = await subscribe(as_ana, URL)
    path = f"/api/webhooks/{webhook['id']}/rotate"

    statuses = [(await as_ana.post(path, json={})).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 200, 409]
    assert (await as_ana.post(path, json={"overlap": 0})).status_code == 200
    assert (await as_ana.post(path, json={"overlap": -1})).status_code == 422


async def test_webhooks_have_an_end(as_ana: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.webhooks.service.MAX_PER_OWNER", 2)
    statuses = [(await as_ana.post("/api/webhooks", json=NEW)).status_code for _ in range(3)]

    assert statuses == [201, 201, 409]


async def test_deliveries_of_another_webhook_cannot_be_reached_through_ones_own(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient
) -> None:
    hers, his = await subscribe(as_ana, URL), await subscribe(as_ben, URL)
    delivery = (await as_ana.post(f"/api/webhooks/{hers['id']}/ping")).json()["id"]

    for webhook in (his["id"], hers["id"], ObjectId()):
        stolen = await as_ben.post(f"/api/webhooks/{webhook}/deliveries/{delivery}/redeliver")
        assert stolen.status_code == 404
    assert await log_of(as_ben, his) == []
    again = await as_ana.post(f"/api/webhooks/{hers['id']}/deliveries/{delivery}/redeliver")
    assert (again.status_code, again.json()["state"]) == (200, "pending")


async def test_the_log_is_a_list(as_ana: httpx.AsyncClient) -> None:
    webhook = await subscribe(as_ana, URL)
    for _ in range(3):
        await as_ana.post(f"/api/webhooks/{webhook['id']}/ping")

    assert len(await log_of(as_ana, webhook, limit=2)) == 2
    assert len(await log_of(as_ana, webhook, state="pending", type="webhook.ping")) == 3
    assert await log_of(as_ana, webhook, state="failed") == []
    bad = await as_ana.get(f"/api/webhooks/{webhook['id']}/deliveries", params={"body__has": "x"})
    assert fields_at_fault(bad) == ["query.body__has"]


async def test_who_is_removed_takes_webhooks_hooks_and_deliveries_along(
    as_ana: httpx.AsyncClient, ana: Person, as_admin: httpx.AsyncClient, services: Services
) -> None:
    webhook = await subscribe(as_ana, URL)
    await as_ana.post(f"/api/webhooks/{webhook['id']}/ping")
    conversation = await new_conversation(as_ana)
    await as_ana.post("/api/hooks", json={"conversation_id": conversation["id"], "name": "n"})

    assert (await as_admin.delete(f"/api/users/{ana.id}", params={"conversations": "keep"})).status_code == 204

    for rows in (services.webhooks.rows, services.webhooks.deliveries, services.webhooks.inbound.rows):
        assert await rows.collection.count_documents({}) == 0


async def test_what_is_removed_for_good_is_in_no_delivery(
    as_ana: httpx.AsyncClient, receiver: Receiver, services: Services
) -> None:
    webhook = await subscribe(as_ana, receiver.url(), "message.created", "conversation.deleted")
    conversation = await new_conversation(as_ana)
    await say(as_ana, conversation, "a secret word")
    services.webhooks.open()
    await receiver.next()

    await as_ana.delete(f"/api/conversations/{conversation['id']}", params={"permanent": True})
    await receiver.next()

    bodies = [row["body"] async for row in services.webhooks.deliveries.collection.find({})]
    assert len(bodies) == 1
    assert "a secret word" not in bodies[0]
    assert (await shown(as_ana, webhook))["active"]


@pytest.mark.parametrize(
    ("payload", "members"),
    [
        (ConversationRead, set(CONVERSATIONS.members)),
        (ToldMessage, {*MESSAGES.members, "omitted"}),
        (TurnBrief, set(TURNS.members)),
        (ExportRead, {*EXPORTS.members, "file"}),
    ],
)
def test_what_is_described_is_what_is_sent(payload: type[BaseModel], members: set[str]) -> None:
    assert set(payload.model_fields) == members


def test_the_document_describes_what_is_sent(app: Any) -> None:
    document = app.openapi()

    described = [document["webhooks"], document["paths"]["/api/webhooks"], document["paths"]["/api/hooks/{id}"]]
    assert "HTTPValidationError" not in json.dumps(described)
    assert document["paths"]["/api/webhooks"]["post"]["callbacks"]
    assert document["paths"]["/api/hooks/{id}"]["post"]["security"] == []
    assert set(document["webhooks"]) == {*get_args(EventType), *get_args(NoticeType)}
    for name, described in document["webhooks"].items():
        operation = described["post"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
        type = document["components"]["schemas"][schema]["properties"]["type"]
        assert name in (type.get("enum") or [type["const"]])
        assert [each["name"] for each in operation["parameters"]] == [
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
        ]
