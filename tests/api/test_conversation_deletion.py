"""Deleting, restoring and purging conversations: what is hidden, what comes back, what is gone."""

from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.conversations.service import HIDDEN_AT_ONCE
from app.kit.errors import Conflict, NotFound
from app.kit.repository import EVERYTHING
from app.services import Services
from app.turns.model import Turn
from tests.api.calls import Json, items, new_conversation, say
from tests.conftest import Person

ECHOES = "/api/conversations/{id}/turns"


async def two_conversations(client: httpx.AsyncClient) -> tuple[Json, Json]:
    """One to be deleted and one to be kept, with a message each that says so."""
    gone, kept = await new_conversation(client, title="gone"), await new_conversation(client, title="kept")
    await say(client, gone, "gone 1")
    await say(client, kept, "kept 1")
    return gone, kept


async def delete(client: httpx.AsyncClient, conversation: Json, **parameters: Any) -> httpx.Response:
    return await client.delete(f"/api/conversations/{conversation['id']}", params=parameters)


async def exported(client: httpx.AsyncClient, resource: str, column: str) -> set[str]:
    response = await client.get(f"/api/{resource}/export", params={"format": "csv", "columns": column, "raw": "true"})
    assert response.status_code == 200
    return set(response.text.split("\r\n")[1:-1])


async def test_a_deleted_conversation_is_nowhere_to_be_seen(as_ana: httpx.AsyncClient) -> None:
    gone, kept = await two_conversations(as_ana)
    [message] = await items(as_ana, "/api/messages", conversation_id=gone["id"])

    assert (await delete(as_ana, gone)).status_code == 204

    for path in (f"conversations/{gone['id']}", f"conversations/{gone['id']}/messages", f"messages/{message['id']}"):
        assert (await as_ana.get(f"/api/{path}")).status_code == 404
    assert [each["id"] for each in await items(as_ana, "/api/conversations")] == [kept["id"]]
    assert [each["content"] for each in await items(as_ana, "/api/messages")] == ["kept 1"]
    assert await items(as_ana, "/api/conversations", q="gone") == []
    assert await items(as_ana, "/api/messages", q="gone") == []
    assert await exported(as_ana, "conversations", "title") == {"kept"}
    assert await exported(as_ana, "messages", "content") == {"kept 1"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "", {"title": "x"}),
        ("PATCH", "", {"title": "x"}),
        ("DELETE", "", None),
        ("POST", "/messages", {"role": "user", "content": "x"}),
        ("POST", "/messages/bulk", {"messages": [{"role": "user", "content": "x"}]}),
        ("POST", "/turns", {"content": "x"}),
    ],
)
async def test_a_deleted_conversation_takes_no_writes(
    as_ana: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    gone = await new_conversation(as_ana)
    await delete(as_ana, gone)

    assert (await as_ana.request(method, f"/api/conversations/{gone['id']}{path}", json=body)).status_code == 404
    [stored] = await items(as_ana, "/api/conversations", status="deleted")
    assert (stored["version"], stored["last_seq"]) == (2, 0)


async def test_the_feedback_of_a_deleted_message_cannot_be_given(as_ana: httpx.AsyncClient) -> None:
    gone = await new_conversation(as_ana)
    message = await say(as_ana, gone, "x")
    await delete(as_ana, gone)

    patched = await as_ana.patch(f"/api/messages/{message['id']}", json={"feedback": {"rating": "up"}})
    assert patched.status_code == 404


async def test_deleted_conversations_are_listed_for_who_asks(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient
) -> None:
    gone, _ = await two_conversations(as_ana)
    await delete(as_ana, gone)

    assert [each["id"] for each in await items(as_ana, "/api/conversations", status="deleted")] == [gone["id"]]
    assert await items(as_ben, "/api/conversations", status="deleted") == []


async def test_a_list_without_archived_ones_does_not_show_deleted_ones(as_ana: httpx.AsyncClient) -> None:
    gone, kept = await two_conversations(as_ana)
    await delete(as_ana, gone)

    assert [each["id"] for each in await items(as_ana, "/api/conversations", status__ne="archived")] == [kept["id"]]


async def test_a_restored_conversation_is_as_it_was_and_goes_on(as_ana: httpx.AsyncClient) -> None:
    gone, _ = await two_conversations(as_ana)
    before = await items(as_ana, f"/api/conversations/{gone['id']}/messages")
    await delete(as_ana, gone)

    restored = await as_ana.post(f"/api/conversations/{gone['id']}/restore")

    assert restored.status_code == 200
    assert (restored.json()["status"], restored.json()["title"]) == ("active", "gone")
    assert await items(as_ana, f"/api/conversations/{gone['id']}/messages") == before
    assert [each["content"] for each in await items(as_ana, "/api/messages", q="gone")] == ["gone 1"]
    assert (await say(as_ana, gone, "gone 2"))["seq"] == 2


async def test_only_a_deleted_conversation_can_be_restored(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient
) -> None:
    made = await new_conversation(as_ana)
    path = f"/api/conversations/{made['id']}/restore"

    assert (await as_ana.post(path)).status_code == 404
    await delete(as_ana, made)
    assert (await as_ben.post(path)).status_code == 404
    assert (await as_ana.post(path)).status_code == 200


async def test_a_repeated_restore_with_its_key_answers_the_same(as_ana: httpx.AsyncClient) -> None:
    made = await new_conversation(as_ana)
    await delete(as_ana, made)
    path, headers = f"/api/conversations/{made['id']}/restore", {"Idempotency-Key": "back"}

    first, second = await as_ana.post(path, headers=headers), await as_ana.post(path, headers=headers)

    assert second.json() == first.json()
    assert second.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("is_deleted_before", [False, True])
@pytest.mark.mongod
async def test_a_purged_conversation_leaves_nothing(
    as_ana: httpx.AsyncClient, services: Services, is_deleted_before: bool
) -> None:
    gone, kept = await two_conversations(as_ana)
    for each in (gone, kept):
        assert (await as_ana.post(ECHOES.format(id=each["id"]), json={"content": "hi"})).status_code == 201
    if is_deleted_before:
        await delete(as_ana, gone)

    assert (await delete(as_ana, gone, permanent="true")).status_code == 204

    kept_id = ObjectId(kept["id"])
    assert await services.conversations.rows.collection.distinct("_id") == [kept_id]
    assert await services.conversations.messages.collection.distinct("conversation_id") == [kept_id]
    assert await Turn.get_pymongo_collection().distinct("conversation_id") == [kept_id]
    assert await items(as_ana, "/api/conversations", status="deleted") == []
    assert (await as_ana.post(f"/api/conversations/{gone['id']}/restore")).status_code == 404
    assert (await delete(as_ana, gone, permanent="true")).status_code == 404


@pytest.mark.parametrize("is_deleted_before", [False, True])
async def test_a_purge_of_another_version_removes_nothing(as_ana: httpx.AsyncClient, is_deleted_before: bool) -> None:
    made = await new_conversation(as_ana)
    await say(as_ana, made, "word")
    if is_deleted_before:
        await delete(as_ana, made)
    path = f"/api/conversations/{made['id']}?permanent=true"

    refused = await as_ana.delete(path, headers={"If-Match": '"1"'})

    assert refused.status_code == 412
    version = refused.json()["current"]["version"]
    assert version == (3 if is_deleted_before else 2)
    assert (await as_ana.delete(path, headers={"If-Match": f'"{version}"'})).status_code == 204


async def test_permanent_is_true_or_false(as_ana: httpx.AsyncClient) -> None:
    made = await new_conversation(as_ana)

    assert (await delete(as_ana, made, permanent="maybe")).status_code == 422
    assert (await delete(as_ana, made, permanently="true")).status_code == 422
    assert (await as_ana.get(f"/api/conversations/{made['id']}")).status_code == 200


async def test_a_purge_that_was_cut_short_can_only_be_purged_again(
    services: Services, as_ana: httpx.AsyncClient
) -> None:
    made = await new_conversation(as_ana)
    for number in range(3):
        await say(as_ana, made, str(number))
    conversations, id = services.conversations, ObjectId(made["id"])
    await conversations.condemn(EVERYTHING, id, None)
    await conversations.messages.collection.delete_one({"conversation_id": id, "seq": 2})

    with pytest.raises(Conflict):
        await conversations.restore(EVERYTHING, id)
    assert await items(as_ana, "/api/messages") == []

    assert (await delete(as_ana, made, permanent="true")).status_code == 204
    assert await conversations.messages.collection.count_documents({}) == 0


async def test_a_deletion_that_was_cut_short_can_be_done_again(services: Services, as_ana: httpx.AsyncClient) -> None:
    made = await new_conversation(as_ana)
    await say(as_ana, made, "word")
    await delete(as_ana, made)
    # As a process leaves it that dies before the older messages of a very long conversation are hidden.
    await services.conversations.messages.show(ObjectId(made["id"]))

    assert (await delete(as_ana, made)).status_code == 204
    assert await items(as_ana, "/api/messages") == []
    assert (await delete(as_ana, made)).status_code == 404


@pytest.mark.mongod
@pytest.mark.slow
async def test_a_conversation_of_fifty_thousand_messages_is_deleted_restored_and_purged(
    services: Services, ana: Person, as_ana: httpx.AsyncClient
) -> None:
    """One transaction over all of them would not end: that many changed documents do not fit into the cache."""
    conversations = services.conversations
    made = await new_conversation(as_ana)
    id, count = ObjectId(made["id"]), 10 * HIDDEN_AT_ONCE
    rows = [
        {"conversation_id": id, "owner_id": ana.id, "seq": seq, "content": "x" * 500} for seq in range(1, count + 1)
    ]
    await conversations.messages.collection.insert_many([{**row, "deleted_at": None} for row in rows], ordered=False)
    await conversations.rows.collection.update_one({"_id": id}, {"$set": {"last_seq": count, "message_count": count}})

    await conversations.delete(EVERYTHING, id, None)
    assert await conversations.messages.collection.count_documents({"deleted_at": None}) == 0
    await conversations.restore(EVERYTHING, id)
    assert await conversations.messages.collection.count_documents({"deleted_at": None}) == count
    await services.privacy.purging.purge(EVERYTHING, id)
    assert await conversations.messages.collection.count_documents({}) == 0
    with pytest.raises(NotFound):
        await conversations.rows.get(EVERYTHING, id)
