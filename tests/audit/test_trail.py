"""The audit log: what is noted, with which act, and that nothing but time takes it away."""

from typing import Any

import httpx
import pytest
from bson import ObjectId
from fastapi import FastAPI
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from app.audit import keeping
from app.audit.actor import Actor, acting
from app.audit.model import AuditEntry
from app.audit.refusals import PER_ASKER
from app.audit.repository import AuditIsAppendOnly
from app.audit.trail import record
from app.kit.repository import EVERYTHING
from app.kit.transactions import Transactions
from app.services import Services
from app.users.schemas import UserUpdate
from tests.conftest import Person, client_of
from tests.rooms.sockets import connect


async def entries(client: httpx.AsyncClient, **filters: Any) -> list[dict[str, Any]]:
    response = await client.get("/api/audit", params={**filters, "limit": 1000})
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


async def test_a_changed_role_tells_who_what_when_and_from_where(
    as_admin: httpx.AsyncClient, admin: Person, ana: Person
) -> None:
    response = await as_admin.patch(f"/api/users/{ana.id}", json={"role": "analyst", "name": "Ana B."})

    [entry] = await entries(as_admin, target_id=str(ana.id), action="user.changed")
    assert entry["actor_id"] == str(admin.id)
    assert (entry["actor_kind"], entry["credential"]) == ("user", "key")
    assert entry["credential_id"] is not None
    assert entry["address"] == "127.0.0.1"
    assert entry["request_id"] == response.headers["x-request-id"]
    assert entry["subject_id"] == str(ana.id)
    assert entry["details"] == {"fields": ["name", "role"], "role": ["user", "analyst"]}
    assert "Ana B." not in str(entry)


async def test_a_new_password_is_noted_without_it(as_admin: httpx.AsyncClient, ana: Person) -> None:
    await as_admin.patch(f"/api/users/{ana.id}", json={"password": "correct horse"})

    [entry] = await entries(as_admin, action="user.changed")
    assert entry["details"] == {"fields": ["password"]}


async def test_what_changes_nothing_is_no_entry(as_admin: httpx.AsyncClient, ana: Person) -> None:
    await as_admin.patch(f"/api/users/{ana.id}", json={"name": "Ana"})

    assert await entries(as_admin, action="user.changed") == []


@pytest.mark.mongod
async def test_an_act_that_fails_leaves_no_entry(as_admin: httpx.AsyncClient, admin: Person, ana: Person) -> None:
    refused = await as_admin.patch(f"/api/users/{admin.id}", json={"role": "user"})
    stale = await as_admin.patch(f"/api/users/{ana.id}", json={"name": "Other"}, headers={"If-Match": '"7"'})

    assert (refused.status_code, stale.status_code) == (409, 412)
    assert await entries(as_admin, action="user.changed") == []


@pytest.mark.mongod
async def test_an_act_whose_entry_cannot_be_written_does_not_happen(
    services: Services, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("app.audit.audited.record", fail)

    with pytest.raises(RuntimeError):
        await services.users.patch(EVERYTHING, ana.id, {"role": "admin"}, None, UserUpdate)
    assert (await services.users.rows.get(EVERYTHING, ana.id))["role"] == "user"


@pytest.mark.mongod
async def test_keys_webhooks_hooks_deletions_and_exports_are_noted(
    as_ana: httpx.AsyncClient, as_admin: httpx.AsyncClient, ana: Person
) -> None:
    key = (await as_ana.post("/api/keys", json={"name": "phone", "scopes": ["read"]})).json()["id"]
    await as_ana.delete(f"/api/keys/{key}")
    webhook = {"url": "https://ana.example/", "events": ["message.created"]}
    path = (await as_ana.post("/api/webhooks", json=webhook)).headers["location"]
    await as_ana.post(f"{path}/rotate", json={})
    await as_ana.delete(path)
    conversation = (await as_ana.post("/api/conversations", json={"title": "Mine"})).json()["id"]
    hook = (await as_ana.post("/api/hooks", json={"conversation_id": conversation, "name": "bot"})).json()["id"]
    await as_ana.delete(f"/api/hooks/{hook}")
    await as_ana.delete(f"/api/conversations/{conversation}")
    await as_ana.post(f"/api/conversations/{conversation}/restore")
    await as_ana.delete(f"/api/conversations/{conversation}", params={"permanent": "true"})
    await as_ana.get("/api/messages/export", params={"role": "user", "format": "jsonl"})
    job = (await as_ana.post("/api/exports", json={"resource": "messages"})).json()["id"]
    await as_ana.get(f"/api/exports/{job}", params={"wait": 30})
    await as_ana.get(f"/api/exports/{job}/file")

    found = await entries(as_admin, actor_id=str(ana.id), sort="created_at")
    assert [each["action"] for each in found] == [
        *("key.created", "key.deleted"),
        *("webhook.created", "webhook.changed", "webhook.deleted"),
        *("hook.created", "hook.deleted"),
        *("conversation.deleted", "conversation.restored", "conversation.deleted", "conversation.purged"),
        *("export.downloaded", "export.created", "export.downloaded"),
    ]
    by_action = {each["action"]: each for each in found}
    assert by_action["key.created"]["details"] == {"scopes": ["read"]}
    assert by_action["webhook.changed"]["details"] == {"fields": ["secret"]}
    assert by_action["export.created"]["details"] == {"resource": "messages", "format": "csv"}
    assert {each["subject_id"] for each in found if each["target_id"]} == {str(ana.id)}
    assert found[-3]["details"] == {"format": "jsonl", "filters": ["role"]}


async def test_refusals_are_noted_but_not_without_end(
    as_ana: httpx.AsyncClient, as_admin: httpx.AsyncClient, ana: Person, ben: Person
) -> None:
    for _ in range(PER_ASKER + 5):
        assert (await as_ana.delete(f"/api/users/{ben.id}")).status_code == 403

    found = await entries(as_admin, action="request.refused")
    assert len(found) == PER_ASKER
    assert found[0]["actor_id"] == str(ana.id)
    assert (found[0]["resource"], found[0]["target_id"]) == ("users", str(ben.id))
    assert found[0]["details"] == {"method": "DELETE", "operation": "delete_user"}


@pytest.mark.mongod
async def test_refusals_within_a_socket_are_noted_as_those_of_requests_are(
    live_url: str, as_admin: httpx.AsyncClient, as_analyst: httpx.AsyncClient, as_ana: httpx.AsyncClient, ben: Person
) -> None:
    id = (await as_ana.post("/api/conversations", json={"title": "Ana's"})).json()["id"]
    shared = await as_ana.put(f"/api/conversations/{id}/shares/{ben.id}", json={"access": "read"})
    assert shared.status_code == 201
    async with connect(live_url, ben) as socket:
        for _ in range(PER_ASKER + 2):
            refused = await socket.ask("ask", conversation_id=id, turn={"content": "Hello"})
            assert refused["status"] == 403
        missing = await socket.ask("ask", conversation_id=str(ObjectId()), turn={"content": "Hello"})

    found = await entries(as_admin, action="request.refused")
    assert missing["status"] == 404
    assert len(found) == PER_ASKER
    assert (found[0]["actor_kind"], found[0]["actor_id"], found[0]["credential"]) == ("user", str(ben.id), "key")
    assert (found[0]["resource"], found[0]["target_id"], found[0]["address"]) == ("conversations", id, "127.0.0.1")
    assert found[0]["details"] == {"method": "WEBSOCKET", "operation": "ask"}


@pytest.mark.mongod
async def test_a_handshake_from_a_foreign_page_is_noted(
    live_url: str, as_admin: httpx.AsyncClient, ana: Person
) -> None:
    with pytest.raises(InvalidStatus):
        async with connect(live_url, ana, origin=Origin("https://elsewhere.example")):
            pass

    [entry] = await entries(as_admin, action="request.refused")
    assert (entry["actor_kind"], entry["resource"]) == ("anonymous", "socket")
    assert entry["details"] == {"method": "WEBSOCKET", "operation": "serve_socket"}


@pytest.mark.mongod
async def test_signing_in_and_out_and_failing_to_are_noted(
    anonymous: httpx.AsyncClient, as_admin: httpx.AsyncClient, services: Services, ana: Person
) -> None:
    await services.users.patch(EVERYTHING, ana.id, {"password": "correct horse"}, None, UserUpdate)
    form = {"grant_type": "password", "username": ana.email, "password": "wrong"}

    assert (await anonymous.post("/api/auth/token", data=form)).status_code == 400
    granted = (await anonymous.post("/api/auth/token", data={**form, "password": "correct horse"})).json()
    await anonymous.post("/api/auth/logout", headers={"Authorization": f"Bearer {granted['access_token']}"})

    found = {each["action"]: each for each in await entries(as_admin, subject_id=str(ana.id))}
    assert found["login.refused"]["actor_kind"] == "anonymous"
    assert found["session.created"]["address"] == "127.0.0.1"
    assert found["session.deleted"]["credential"] == "session"
    assert "correct horse" not in str(found)
    assert "wrong" not in str(found)


@pytest.mark.mongod
async def test_the_log_can_be_filtered_paged_and_exported(
    as_admin: httpx.AsyncClient, ana: Person, ben: Person
) -> None:
    for person in (ana, ben):
        await as_admin.patch(f"/api/users/{person.id}", json={"role": "analyst"})

    first = (await as_admin.get("/api/audit", params={"action": "user.changed", "limit": 1})).json()
    second = (await as_admin.get("/api/audit", params={"action": "user.changed", "after": first["next"]})).json()
    file = await as_admin.get("/api/audit/export", params={"action": "user.changed", "format": "csv"})

    assert [first["items"][0]["target_id"], second["items"][0]["target_id"]] == [str(ben.id), str(ana.id)]
    assert second["next"] is None
    assert len(file.text.splitlines()) == 3
    one = await as_admin.get(f"/api/audit/{first['items'][0]['id']}")
    assert one.json() == first["items"][0]


async def test_nobody_changes_the_log(as_admin: httpx.AsyncClient, services: Services, ana: Person) -> None:
    await as_admin.patch(f"/api/users/{ana.id}", json={"role": "analyst"})
    [entry] = await entries(as_admin, action="user.changed")

    for method in ("PUT", "PATCH", "DELETE", "POST"):
        for path in ("/api/audit", f"/api/audit/{entry['id']}"):
            assert (await as_admin.request(method, path, json={})).status_code == 405
    with pytest.raises(AuditIsAppendOnly):
        await services.audit.update(EVERYTHING, ObjectId(entry["id"]), {"$set": {"action": "nothing"}})
    with pytest.raises(AuditIsAppendOnly):
        await services.audit.delete(EVERYTHING, ObjectId(entry["id"]))


async def test_only_admins_read_it_and_others_export_no_more_than_their_own_acts(
    app: FastAPI, as_admin: httpx.AsyncClient, as_analyst: httpx.AsyncClient, analyst: Person, ana: Person
) -> None:
    await as_admin.patch(f"/api/users/{ana.id}", json={"role": "analyst"})
    async with client_of(app, ana) as client:
        for each in (client, as_analyst):
            assert (await each.get("/api/audit")).status_code == 403
            assert (await each.get("/api/audit/export")).status_code == 403


@pytest.mark.mongod
async def test_an_export_job_of_the_log_holds_the_own_acts_of_who_is_no_admin(
    as_admin: httpx.AsyncClient, as_analyst: httpx.AsyncClient, analyst: Person, ana: Person
) -> None:
    await as_admin.patch(f"/api/users/{ana.id}", json={"role": "analyst"})
    job = {"resource": "audit", "format": "jsonl"}
    files = []
    for client in (as_analyst, as_admin):
        id = (await client.post("/api/exports", json=job)).json()["id"]
        assert (await client.get(f"/api/exports/{id}", params={"wait": 30})).json()["state"] == "completed"
        files.append((await client.get(f"/api/exports/{id}/file")).text)

    assert str(ana.id) not in files[0]
    assert "export.created" in files[0]
    assert "user.changed" in files[1]


async def test_the_actor_of_a_command_is_the_command(services: Services, as_admin: httpx.AsyncClient) -> None:
    with acting(Actor("command")):
        await record("user.changed", "users")
    await record("user.changed", "users")

    assert [each["actor_kind"] for each in await entries(as_admin, action="user.changed")] == ["system", "command"]


@pytest.mark.mongod
async def test_a_repeated_transaction_notes_once(services: Services) -> None:
    attempts = 0

    async def work() -> None:
        nonlocal attempts
        attempts += 1
        await record("user.changed", "users")
        if attempts == 1:
            from pymongo.errors import OperationFailure

            raise OperationFailure("again", 112, {"errorLabels": ["TransientTransactionError"]})

    await Transactions(services.database.client).run(work)

    assert attempts == 2
    assert await AuditEntry.get_pymongo_collection().count_documents({"action": "user.changed"}) == 1


@pytest.mark.mongod
async def test_the_days_of_the_log_are_a_setting_that_may_change(services: Services) -> None:
    collection = AuditEntry.get_pymongo_collection()
    try:
        for days in (365, 30, 30):
            await keeping.settle(days)
            index = (await collection.index_information())[keeping.INDEX]
            assert index["expireAfterSeconds"] == days * 24 * 3600
    finally:
        await collection.drop_index(keeping.INDEX)
