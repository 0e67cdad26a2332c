"""/api/conversations through a real client: making, reading, changing, and who may."""

from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.services import Services
from tests.api.calls import fields_at_fault, items, new_conversation, say
from tests.conftest import Person

FIELDS = {
    "title": "Coffee",
    "system_prompt": "Be brief.",
    "model": "echo",
    "tags": ["drinks", "work"],
    "metadata": {"source": "web"},
}
READS = [("GET", ""), ("GET", "/messages")]
WRITES = [
    ("PUT", "", {"title": "x"}),
    ("PATCH", "", {"title": "x"}),
    ("DELETE", "", None),
    ("DELETE", "?permanent=true", None),
    ("POST", "/restore", None),
    ("POST", "/messages", {"role": "user", "content": "x"}),
    ("POST", "/messages/bulk", {"messages": [{"role": "user", "content": "x"}]}),
]
ALL = [*((method, path, None) for method, path in READS), *WRITES]


async def test_a_new_conversation_is_answered_whole_and_found_again(as_ana: httpx.AsyncClient, ana: Person) -> None:
    response = await as_ana.post("/api/conversations", json=FIELDS)

    assert response.status_code == 201
    made = response.json()
    assert {name: made[name] for name in FIELDS} == FIELDS
    assert made["owner_id"] == str(ana.id)
    assert (made["status"], made["message_count"], made["last_seq"], made["version"]) == ("active", 0, 0, 1)
    assert made["last_message_at"] is None
    again = await as_ana.get(response.headers["location"])
    assert again.json() == made
    assert again.headers["etag"] == response.headers["etag"] == '"1"'


async def test_a_conversation_needs_nothing(as_ana: httpx.AsyncClient) -> None:
    made = await new_conversation(as_ana)

    assert (made["title"], made["tags"], made["metadata"], made["model"]) == ("", [], {}, None)


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", ""), ("GET", "/export"), ("POST", "/bulk")])
async def test_anonymous_gets_no_list(anonymous: httpx.AsyncClient, method: str, path: str) -> None:
    response = await anonymous.request(method, f"/api/conversations{path}", json={} if method == "POST" else None)

    assert response.status_code == 401
    assert response.json()["code"] == "unauthenticated"


@pytest.mark.parametrize(("method", "path", "body"), ALL)
async def test_anonymous_reaches_no_conversation(
    anonymous: httpx.AsyncClient, as_ana: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    made = await new_conversation(as_ana)

    response = await anonymous.request(method, f"/api/conversations/{made['id']}{path}", json=body)

    assert response.status_code == 401
    assert (await as_ana.get(f"/api/conversations/{made['id']}")).json() == made


@pytest.mark.parametrize(("method", "path", "body"), ALL)
async def test_somebody_elses_conversation_looks_absent_and_stays_as_it_is(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    made = await new_conversation(as_ana)

    foreign = await as_ben.request(method, f"/api/conversations/{made['id']}{path}", json=body)
    absent = await as_ben.request(method, f"/api/conversations/{ObjectId()}{path}", json=body)

    assert foreign.status_code == absent.status_code == 404
    assert foreign.json()["detail"] == absent.json()["detail"]
    assert (await as_ana.get(f"/api/conversations/{made['id']}")).json() == made


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
async def test_an_analyst_reads_all_and_changes_nothing(
    as_ana: httpx.AsyncClient, as_analyst: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    made = await new_conversation(as_ana)

    assert (await as_analyst.get(f"/api/conversations/{made['id']}")).json() == made
    response = await as_analyst.request(method, f"/api/conversations/{made['id']}{path}", json=body)
    assert response.status_code == 403
    assert (await as_ana.get(f"/api/conversations/{made['id']}")).json() == made


@pytest.mark.parametrize(("method", "path", "body"), ALL)
async def test_an_id_that_is_none_is_named(as_ana: httpx.AsyncClient, method: str, path: str, body: Any) -> None:
    assert "path.id" in fields_at_fault(await as_ana.request(method, f"/api/conversations/42{path}", json=body))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": "x" * 501}, "body.title"),
        ({"title": None}, "body.title"),
        ({"title": 1}, "body.title"),
        ({"system_prompt": "x" * 100_001}, "body.system_prompt"),
        ({"model": ""}, "body.model"),
        ({"tags": ["x"] * 65}, "body.tags"),
        ({"tags": [""]}, "body.tags.0"),
        ({"tags": ["ok", "x" * 101]}, "body.tags.1"),
        ({"metadata": {str(number): "x" for number in range(17)}}, "body.metadata"),
        ({"metadata": {"k": "x" * 513}}, "body.metadata.k"),
        ({"metadata": {"k": 1}}, "body.metadata.k"),
        ({"metadata": {"a.b": "x"}}, "body"),
        ({"metadata": {"$set": "x"}}, "body"),
        ({"metadata": {"": "x"}}, "body"),
        ({"status": "deleted"}, "body.status"),
        ({"last_seq": 7}, "body.last_seq"),
        ({"version": 7}, "body.version"),
        ({"_id": "x"}, "body._id"),
    ],
)
async def test_what_cannot_be_used_is_named_and_not_stored(
    as_ana: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    made = await new_conversation(as_ana)

    created = await as_ana.post("/api/conversations", json=body)
    replaced = await as_ana.put(f"/api/conversations/{made['id']}", json=body)

    assert fields_at_fault(created) == fields_at_fault(replaced) == [field]
    assert await items(as_ana, "/api/conversations") == [made]


async def test_metadata_holds_sixteen_pairs(as_ana: httpx.AsyncClient) -> None:
    pairs = {f"键{number}": "值" * 512 for number in range(16)}

    assert (await new_conversation(as_ana, metadata=pairs))["metadata"] == pairs


async def test_tags_are_trimmed_and_each_is_kept_once(as_ana: httpx.AsyncClient) -> None:
    assert (await new_conversation(as_ana, tags=[" b ", "a", "b", "a"]))["tags"] == ["b", "a"]


async def test_put_replaces_and_patch_merges(as_ana: httpx.AsyncClient) -> None:
    made = await new_conversation(as_ana, **FIELDS)
    path = f"/api/conversations/{made['id']}"

    patched = await as_ana.patch(path, json={"system_prompt": None, "metadata": {"source": None, "lang": "zh"}})
    assert patched.json()["title"] == "Coffee"
    assert patched.json()["system_prompt"] is None
    assert patched.json()["metadata"] == {"lang": "zh"}
    assert patched.headers["etag"] == '"2"'

    put = await as_ana.put(path, json={"title": "Tea"})
    assert (put.json()["title"], put.json()["tags"], put.json()["metadata"]) == ("Tea", [], {})
    assert put.json()["version"] == 3
    assert put.json()["created_at"] == made["created_at"]
    assert (await as_ana.get(path)).json() == put.json()


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"title": 1}, "body.title"),
        ({"owner_id": str(ObjectId())}, "body.owner_id"),
        ({"status": "gone"}, "body.status"),
    ],
)
async def test_a_patch_that_cannot_be_used_is_named(
    as_ana: httpx.AsyncClient, patch: dict[str, Any], field: str
) -> None:
    made = await new_conversation(as_ana)

    assert fields_at_fault(await as_ana.patch(f"/api/conversations/{made['id']}", json=patch)) == [field]
    assert (await as_ana.get(f"/api/conversations/{made['id']}")).json() == made


async def test_a_patch_is_an_object(as_ana: httpx.AsyncClient) -> None:
    made = await new_conversation(as_ana)

    assert fields_at_fault(await as_ana.patch(f"/api/conversations/{made['id']}", json=["title"])) == ["body"]


async def test_an_archived_conversation_goes_on_and_comes_back(as_ana: httpx.AsyncClient) -> None:
    made = await new_conversation(as_ana, title="Old")
    path = f"/api/conversations/{made['id']}"

    assert (await as_ana.patch(path, json={"status": "archived"})).json()["status"] == "archived"
    assert (await say(as_ana, made, "still here"))["seq"] == 1
    assert [each["title"] for each in await items(as_ana, "/api/conversations", status="archived")] == ["Old"]
    assert await items(as_ana, "/api/conversations", status="active") == []
    assert (await as_ana.patch(path, json={"status": "active"})).json()["status"] == "active"


@pytest.mark.parametrize(("method", "body"), [("PUT", {"title": "B"}), ("PATCH", {"title": "B"}), ("DELETE", None)])
async def test_a_write_to_another_version_shows_the_stored_one(
    as_ana: httpx.AsyncClient, method: str, body: Any
) -> None:
    made = await new_conversation(as_ana, title="A")
    path = f"/api/conversations/{made['id']}"
    await as_ana.patch(path, json={"title": "A2"})

    refused = await as_ana.request(method, path, json=body, headers={"If-Match": '"1"'})

    assert refused.status_code == 412
    assert refused.headers["etag"] == '"2"'
    assert refused.json()["current"] == (await as_ana.get(path)).json()
    assert refused.json()["current"]["title"] == "A2"
    accepted = await as_ana.request(method, path, json=body, headers={"If-Match": '"2"'})
    assert accepted.is_success


async def test_an_append_makes_a_new_version(as_ana: httpx.AsyncClient) -> None:
    made = await new_conversation(as_ana)
    path = f"/api/conversations/{made['id']}"
    message = await say(as_ana, made, "hi")

    known = await as_ana.get(path, headers={"If-None-Match": '"1"'})
    assert known.status_code == 200
    assert (known.json()["version"], known.json()["message_count"], known.json()["last_seq"]) == (2, 1, 1)
    assert known.json()["last_message_at"] == message["created_at"]
    assert (await as_ana.get(path, headers={"If-None-Match": '"2"'})).status_code == 304


async def test_an_admin_may_start_a_conversation_for_somebody(
    as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person, services: Services
) -> None:
    made = await new_conversation(as_admin, owner_id=str(ana.id), title="For Ana")

    assert (await as_ana.get(f"/api/conversations/{made['id']}")).json() == made
    unknown = await as_admin.post("/api/conversations", json={"owner_id": str(ObjectId())})
    assert fields_at_fault(unknown) == ["body.owner_id"]
    assert await services.conversations.rows.collection.count_documents({}) == 1


async def test_a_user_starts_conversations_for_nobody_else(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, ana: Person, ben: Person
) -> None:
    assert (await as_ana.post("/api/conversations", json={"owner_id": str(ana.id)})).status_code == 201
    refused = await as_ana.post("/api/conversations", json={"owner_id": str(ben.id)})

    assert refused.status_code == 403
    assert await items(as_ben, "/api/conversations") == []


async def test_a_repeated_create_with_its_key_happens_once(as_ana: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "one"}
    first = await as_ana.post("/api/conversations", json={"title": "A"}, headers=headers)
    second = await as_ana.post("/api/conversations", json={"title": "A"}, headers=headers)
    other = await as_ana.post("/api/conversations", json={"title": "B"}, headers=headers)

    assert second.status_code == 201
    assert second.json() == first.json()
    assert second.headers["location"] == first.headers["location"]
    assert second.headers["idempotency-replayed"] == "true"
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"
    assert len(await items(as_ana, "/api/conversations")) == 1


async def test_two_users_may_choose_the_same_key(as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient) -> None:
    answers = [
        await client.post("/api/conversations", json={}, headers={"Idempotency-Key": "one"})
        for client in (as_ana, as_ben)
    ]

    assert answers[0].json()["id"] != answers[1].json()["id"]
