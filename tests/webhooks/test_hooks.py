"""/api/hooks: messages of other systems, with a signature instead of a key."""

import json
import time
from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.kit.signatures import signed_headers
from tests.api.calls import fields_at_fault, items, new_conversation
from tests.conftest import Person

pytestmark = pytest.mark.mongod

Json = dict[str, Any]
MESSAGE: Json = {"content": "It rings"}


@pytest.fixture
async def conversation(as_ana: httpx.AsyncClient) -> Json:
    return await new_conversation(as_ana)


@pytest.fixture
async def hook(as_ana: httpx.AsyncClient, conversation: Json) -> Json:
    response = await as_ana.post("/api/hooks", json={"conversation_id": conversation["id"], "name": "alarm"})
    assert response.status_code == 201, response.text
    return dict(response.json())


async def post(
    client: httpx.AsyncClient, hook: Json, body: Any = MESSAGE, id: str = "msg_1", **options: Any
) -> httpx.Response:
    """A message as the other system sends it. `options`: `at`, when it was signed, or by how many seconds `later` than
    now; a `secret`; other `headers`."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    at, secret = (
        int(options.get("at", time.time() + options.get("later", 0))),
        str(options.get("secret", hook["secret"])),
    )
    headers = signed_headers([secret], id, at, raw) | options.get("headers", {})
    return await client.post(
        f"/api/hooks/{hook['id']}", content=raw, headers={"Content-Type": "application/json", **headers}
    )


async def transcript(client: httpx.AsyncClient, conversation: Json) -> list[Json]:
    return await items(client, f"/api/conversations/{conversation['id']}/messages", sort="seq")


async def test_a_signed_message_is_appended(
    anonymous: httpx.AsyncClient, as_ana: httpx.AsyncClient, hook: Json, conversation: Json
) -> None:
    response = await post(anonymous, hook, {"content": "日常", "metadata": {"from": "alarm"}})

    assert response.status_code == 201, response.text
    assert response.headers["location"] == f"/api/messages/{response.json()['id']}"
    messages = await transcript(as_ana, conversation)
    assert [(each["seq"], each["role"], each["content"], each["metadata"]) for each in messages] == [
        (1, "user", "日常", {"from": "alarm"})
    ]


async def test_the_same_message_is_appended_once(
    anonymous: httpx.AsyncClient, as_ana: httpx.AsyncClient, hook: Json, conversation: Json
) -> None:
    first = await post(anonymous, hook)
    again = await post(anonymous, hook, at=time.time() - 60)
    other = await post(anonymous, hook, id="msg_2")
    reused = await post(anonymous, hook, {"content": "another"}, id="msg_1")

    assert first.json() == again.json() != other.json()
    assert reused.json()["code"] == "idempotency_key_reused"
    assert len(await transcript(as_ana, conversation)) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"secret": "whsec_AAAA"},
        {"at": 0},
        {"later": -400},
        {"later": 400},
        {"headers": {"webhook-id": "msg_other"}},
        {"headers": {"webhook-signature": ""}},
        {"headers": {"webhook-timestamp": "now"}},
        {"headers": {"webhook-id": ""}},
    ],
)
async def test_what_is_not_signed_right_is_refused(
    anonymous: httpx.AsyncClient, as_ana: httpx.AsyncClient, hook: Json, conversation: Json, options: Json
) -> None:
    response = await post(anonymous, hook, **options)

    assert (response.status_code, response.json()["code"]) == (401, "wrong_signature")
    assert response.headers["www-authenticate"].startswith("Webhook-Signature")
    assert await transcript(as_ana, conversation) == []


async def test_nobody_learns_whether_a_hook_exists(anonymous: httpx.AsyncClient, hook: Json) -> None:
    wrong = await post(anonymous, hook, secret="whsec_AAAA")
    absent = await post(anonymous, {**hook, "id": str(ObjectId())})

    assert (wrong.status_code, wrong.json()["detail"]) == (absent.status_code, absent.json()["detail"])


async def test_a_key_is_no_signature(as_ana: httpx.AsyncClient, as_admin: httpx.AsyncClient, hook: Json) -> None:
    for client in (as_ana, as_admin):
        assert (await client.post(f"/api/hooks/{hook['id']}", json={"content": "x"})).status_code == 401


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"{", ["body"]),
        (b"\xff", ["body"]),
        (b'{"content": "a", "content": "b"}', ["body"]),
        ({"content": 1}, ["body.content"]),
        ({"content": "x", "role": "system"}, ["body.role"]),
        ({"content": "x" * (1024 * 1024 + 1)}, ["body.content"]),
        ({"content": "x", "metadata": {"$where": "1"}}, ["body"]),
    ],
)
async def test_signed_nonsense_is_refused_with_a_sentence(
    anonymous: httpx.AsyncClient, hook: Json, body: Any, fields: list[str]
) -> None:
    assert fields_at_fault(await post(anonymous, hook, body)) == fields


async def test_the_role_is_the_hooks(
    anonymous: httpx.AsyncClient, as_ana: httpx.AsyncClient, conversation: Json
) -> None:
    new = {"conversation_id": conversation["id"], "name": "system", "role": "system"}
    hook = (await as_ana.post("/api/hooks", json=new)).json()

    assert (await post(anonymous, hook)).json()["role"] == "system"
    assert fields_at_fault(await as_ana.post("/api/hooks", json={**new, "role": "tool"})) == ["body.role"]


async def test_a_hook_ends_with_its_removal_its_conversation_and_its_owner(
    anonymous: httpx.AsyncClient,
    as_ana: httpx.AsyncClient,
    ana: Person,
    as_admin: httpx.AsyncClient,
    hook: Json,
    conversation: Json,
) -> None:
    path = f"/api/conversations/{conversation['id']}"
    await as_ana.delete(path)
    assert (await post(anonymous, hook, id="deleted")).status_code == 404
    await as_ana.post(f"{path}/restore")
    assert (await post(anonymous, hook, id="restored")).status_code == 201
    await as_admin.patch(f"/api/users/{ana.id}", json={"disabled": True})
    assert (await post(anonymous, hook, id="disabled")).status_code == 401
    await as_admin.patch(f"/api/users/{ana.id}", json={"disabled": False})
    assert (await as_ana.delete(f"/api/hooks/{hook['id']}")).status_code == 204
    assert (await post(anonymous, hook, id="removed")).status_code == 401


async def test_hooks_are_made_for_ones_own_conversations(
    as_ana: httpx.AsyncClient,
    as_ben: httpx.AsyncClient,
    as_admin: httpx.AsyncClient,
    ana: Person,
    hook: Json,
    conversation: Json,
) -> None:
    new = {"conversation_id": conversation["id"], "name": "mine"}

    assert (await as_ben.post("/api/hooks", json=new)).status_code == 404
    by_admin = (await as_admin.post("/api/hooks", json=new)).json()
    assert by_admin["owner_id"] == str(ana.id)
    shown = await as_ana.get("/api/hooks", params={"conversation_id": conversation["id"]})
    assert {each["id"] for each in shown.json()["items"]} == {hook["id"], by_admin["id"]}
    assert hook["secret"] not in shown.text
    assert await items(as_ben, "/api/hooks") == []


async def test_hooks_of_a_conversation_have_an_end(as_ana: httpx.AsyncClient, conversation: Json) -> None:
    new = {"conversation_id": conversation["id"], "name": "n"}
    statuses = [(await as_ana.post("/api/hooks", json=new)).status_code for _ in range(11)]

    assert statuses == [201] * 10 + [409]
