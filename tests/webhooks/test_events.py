"""What is told: everything that happens, once it is stored, and nothing else."""

import json
from typing import Any

import httpx
import pytest

from app.imports.service import ImportOptions
from app.kit.repository import EVERYTHING
from app.services import Services
from tests.api.calls import new_conversation, say
from tests.conftest import Person
from tests.webhooks.conftest import subscribe
from tests.webhooks.receiver import Received, Receiver

pytestmark = pytest.mark.mongod

CONVERSATIONS = ("conversation.created", "conversation.updated", "conversation.deleted", "conversation.restored")
TURNS = ("turn.completed", "turn.failed", "turn.cancelled", "turn.interrupted")


def told(received: list[Received]) -> set[str]:
    return {each.type for each in received}


async def test_a_conversations_life_is_told(as_ana: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(as_ana, receiver.url(), *CONVERSATIONS)
    conversation = await new_conversation(as_ana, title="恋恋笔记本")
    path = f"/api/conversations/{conversation['id']}"

    created = await receiver.next()
    assert (created.type, created.data["id"], created.data["title"]) == (
        "conversation.created",
        conversation["id"],
        "恋恋笔记本",
    )
    assert created.data == conversation
    patched = (await as_ana.patch(path, json={"title": "Notebook"})).json()
    updated = await receiver.next()
    assert (updated.type, updated.data) == ("conversation.updated", patched)
    await as_ana.delete(path)
    deleted = await receiver.next()
    assert (deleted.type, deleted.data["id"]) == ("conversation.deleted", conversation["id"])
    restored = (await as_ana.post(f"{path}/restore")).json()
    again = await receiver.next()
    assert (again.type, again.data) == ("conversation.restored", restored)
    await as_ana.delete(path, params={"permanent": True})
    gone = await receiver.next()
    assert (gone.type, gone.data["owner_id"]) == ("conversation.deleted", conversation["owner_id"])
    assert len({each.id for each in receiver.received}) == 5
    assert receiver.is_silent


async def test_a_message_is_told_as_it_is_answered_to_clients(as_ana: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(as_ana, receiver.url())
    conversation = await new_conversation(as_ana)
    message = await say(as_ana, conversation, "Où est le café?\u2028")

    event = await receiver.next()

    assert event.type == "message.created"
    assert event.data == {**message, "omitted": []}
    assert event.headers["content-type"] == "application/json"


async def test_a_text_that_is_too_long_is_left_out_whole(as_ana: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(as_ana, receiver.url())
    conversation = await new_conversation(as_ana)
    await say(as_ana, conversation, "x" * 100_000)

    event = await receiver.next()

    assert (event.data["content"], event.data["omitted"]) == (None, ["content"])


async def test_a_turn_is_told_at_its_end_with_the_words_of_its_answer(
    as_ana: httpx.AsyncClient, receiver: Receiver
) -> None:
    await subscribe(as_ana, receiver.url(), "message.created", *TURNS)
    conversation = await new_conversation(as_ana)
    turn = (await as_ana.post(f"/api/conversations/{conversation['id']}/turns", json={"content": "Hello"})).json()

    events = await receiver.take(3)

    messages = {each.data["role"]: each.data for each in events if each.type == "message.created"}
    assert messages["user"]["content"] == "Hello"
    assert messages["assistant"]["content"] == turn["assistant_message"]["content"]
    assert messages["assistant"]["status"] == "complete"
    ended = next(each for each in events if each.type == "turn.completed")
    assert (ended.data["id"], ended.data["state"]) == (turn["id"], "completed")
    assert ended.data["assistant_message_id"] == turn["assistant_message"]["id"]
    assert receiver.is_silent


async def test_only_what_was_asked_for_is_told(as_ana: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(as_ana, receiver.url(), "conversation.deleted")
    conversation = await new_conversation(as_ana)
    await say(as_ana, conversation, "Hello")
    await as_ana.delete(f"/api/conversations/{conversation['id']}")

    assert (await receiver.next()).type == "conversation.deleted"
    assert len(receiver.received) == 1


async def test_messages_do_not_update_their_conversation(as_ana: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(as_ana, receiver.url(), "conversation.updated")
    conversation = await new_conversation(as_ana, title="a")
    await say(as_ana, conversation, "Hello")
    await as_ana.patch(f"/api/conversations/{conversation['id']}", json={"title": "a"})
    await as_ana.patch(f"/api/conversations/{conversation['id']}", json={"tags": ["b"]})

    event = await receiver.next()

    assert event.data["tags"] == ["b"]
    assert len(receiver.received) == 1


async def test_what_was_rolled_back_is_not_told(
    as_ana: httpx.AsyncClient, ana: Person, receiver: Receiver, services: Services
) -> None:
    await subscribe(as_ana, receiver.url(), "conversation.created", "message.created")
    conversation = await new_conversation(as_ana)
    await receiver.next()

    async def fail() -> None:
        await services.conversations.extend(
            EVERYTHING,
            (await services.conversations.rows.ids_of_owner(ana.id, limit=1))[0],
            [{"role": "user", "content": "never"}],
        )
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await services.database.transactions.run(fail)
    await say(as_ana, conversation, "always")

    event = await receiver.next()
    assert (event.data["content"], event.data["seq"]) == ("always", 1)


async def test_a_fork_is_told_as_one(as_ana: httpx.AsyncClient, receiver: Receiver) -> None:
    conversation = await new_conversation(as_ana, title="Origin")
    await say(as_ana, conversation, "Hello")
    await subscribe(as_ana, receiver.url(), *CONVERSATIONS, "message.created")

    fork = (await as_ana.post(f"/api/conversations/{conversation['id']}/fork", json={"seq": 1})).json()
    await say(as_ana, fork, "behind it")

    events = await receiver.take(2)
    assert {each.type: each.data["id"] for each in events}["conversation.created"] == fork["id"]
    assert [each.data["content"] for each in events if each.type == "message.created"] == ["behind it"]


async def test_an_import_is_told_conversation_by_conversation(
    as_ana: httpx.AsyncClient, ana: Person, receiver: Receiver, services: Services, tmp_path: Any
) -> None:
    await subscribe(as_ana, receiver.url(), *CONVERSATIONS, "message.created")
    file = tmp_path / "two.jsonl"
    message = {"role": "user", "content": "Hi"}
    short = {"id": "short", "title": "short", "messages": [message] * 3}
    long = {"id": "long", "title": "long", "messages": [message] * 2500}
    file.write_text(json.dumps(short) + "\n" + json.dumps(long) + "\n")
    await services.imports.service.run(file, ana.id)
    conversation = await new_conversation(as_ana, title="last")
    await say(as_ana, conversation, "the only one")

    events = await receiver.take(4)

    titles = sorted(each.data["title"] for each in events if each.type == "conversation.created")
    assert titles == ["last", "long", "short"]
    assert [each.data["content"] for each in events if each.type == "message.created"] == ["the only one"]
    counts = {each.data["title"]: each.data["message_count"] for each in events if "title" in each.data}
    assert counts["long"] == 2500


async def test_an_export_is_told_when_its_file_is_there(as_ana: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(as_ana, receiver.url(), "export.completed", "export.failed")
    await new_conversation(as_ana)
    asked = await as_ana.post("/api/exports", json={"resource": "conversations", "format": "csv"})
    assert asked.status_code in {201, 202}, asked.text

    event = await receiver.next()

    assert (event.type, event.data["id"], event.data["rows"]) == ("export.completed", asked.json()["id"], 1)
    assert (await as_ana.get(event.data["file"])).status_code == 200


async def test_the_undo_of_an_import_is_told_conversation_by_conversation(
    as_ana: httpx.AsyncClient, ana: Person, receiver: Receiver, services: Services, tmp_path: Any
) -> None:
    file = tmp_path / "two.jsonl"
    long = [{"role": "user", "content": "Hi"}] * 2500
    file.write_text("".join(json.dumps({"id": str(n), "messages": long[: n * 2499 + 1]}) + "\n" for n in range(2)))
    row = await services.imports.run_here(file, ana.id, ImportOptions())
    await subscribe(as_ana, receiver.url(), "conversation.deleted")
    ids = {each["id"] for each in (await as_ana.get("/api/conversations")).json()["items"]}
    await services.imports.undo_here(EVERYTHING, row["_id"], force=False, progress=lambda _: None)

    events = await receiver.take(2)
    assert {each.data["id"] for each in events} == ids


async def test_a_webhook_hears_of_its_owners_rows_only(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, as_admin: httpx.AsyncClient, receiver: Receiver
) -> None:
    await subscribe(as_ana, receiver.url("ana"), "conversation.created")
    await subscribe(as_admin, receiver.url("admin"), "conversation.created")
    await subscribe(as_admin, receiver.url("all"), "conversation.created", hears_all=True)

    await new_conversation(as_ben, title="Ben's")
    assert (await receiver.next()).path == "/all"
    await new_conversation(as_ana, title="Ana's")

    assert {each.path for each in await receiver.take(2)} == {"/ana", "/all"}
    assert receiver.is_silent


async def test_who_is_no_admin_any_more_hears_of_their_own_rows(
    as_ana: httpx.AsyncClient, as_admin: httpx.AsyncClient, admin: Person, receiver: Receiver, services: Services
) -> None:
    await subscribe(as_admin, receiver.url(), "conversation.created", hears_all=True)
    await services.users.rows.collection.update_one({"_id": admin.id}, {"$set": {"role": "user"}})
    with services.keys.forgetting():
        pass

    await new_conversation(as_ana, title="Ana's")
    await new_conversation(as_admin, title="mine")

    assert (await receiver.next()).data["title"] == "mine"
    assert len(receiver.received) == 1


async def test_who_is_locked_out_hears_nothing(
    as_ana: httpx.AsyncClient, ana: Person, as_admin: httpx.AsyncClient, receiver: Receiver
) -> None:
    await subscribe(as_ana, receiver.url("ana"), "conversation.created")
    await subscribe(as_admin, receiver.url("admin"), "conversation.created", hears_all=True)
    await as_admin.patch(f"/api/users/{ana.id}", json={"disabled": True})

    await new_conversation(as_admin, owner_id=str(ana.id))

    assert (await receiver.next()).path == "/admin"
    assert receiver.is_silent
