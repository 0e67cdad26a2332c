"""Bulk writes: a result per operation, and each operation once per key."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from bson import ObjectId
from pymongo.errors import ServerSelectionTimeoutError

from app.api.bulk import MAX_OPERATIONS, BulkOperation, BulkRequest, BulkWriter
from app.kit.etag import Versions
from app.kit.idempotency import Once
from app.kit.repository import Row
from app.services import Services
from tests.api.calls import Json, fields_at_fault, items, new_conversation

PATH = "/api/conversations/bulk"


def create(title: str = "", **body: Any) -> Json:
    return {"action": "create", "body": {"title": title, **body}}


async def send(
    client: httpx.AsyncClient, *operations: Json, key: str | None = None, path: str = PATH
) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await client.post(path, json={"operations": list(operations)}, headers=headers)


async def results(client: httpx.AsyncClient, *operations: Json, key: str | None = None, path: str = PATH) -> list[Json]:
    response = await send(client, *operations, key=key, path=path)
    assert response.status_code == 200, response.text
    found: list[Json] = response.json()["results"]
    assert response.json()["failed"] == sum(each["status"] >= 400 for each in found)
    return found


async def titles(client: httpx.AsyncClient) -> list[str]:
    return [each["title"] for each in await items(client, "/api/conversations", sort="title", limit=1000)]


async def test_every_operation_has_its_result_in_order(as_ana: httpx.AsyncClient) -> None:
    old, gone = await new_conversation(as_ana, title="old"), await new_conversation(as_ana, title="gone")

    made, changed, removed = await results(
        as_ana,
        create("new"),
        {"action": "update", "id": old["id"], "body": {"title": "newer"}},
        {"action": "delete", "id": gone["id"]},
    )

    assert (made["status"], made["version"]) == (201, 1)
    assert changed == {"status": 200, "id": old["id"], "version": 2}
    assert removed == {"status": 204, "id": gone["id"]}
    assert (await as_ana.get(f"/api/conversations/{made['id']}")).json()["title"] == "new"
    assert await titles(as_ana) == ["new", "newer"]


async def test_one_that_fails_does_not_stop_the_next(as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient) -> None:
    foreign = await new_conversation(as_ben, title="Ben's")
    mine = await new_conversation(as_ana, title="mine")

    found = await results(
        as_ana,
        create("first"),
        {"action": "update", "id": foreign["id"], "body": {"title": "taken"}},
        {"action": "delete", "id": str(ObjectId())},
        create("x" * 501),
        {"action": "update", "id": mine["id"], "version": 7, "body": {"title": "late"}},
        create("for Ben", owner_id=foreign["owner_id"]),
        create("last"),
    )

    assert [each["status"] for each in found] == [201, 404, 404, 422, 412, 403, 201]
    assert [each["field"] for each in found[3]["error"]["fields"]] == ["body.title"]
    assert found[4]["error"]["current"]["title"] == "mine"
    assert await titles(as_ana) == ["first", "last", "mine"]
    assert await titles(as_ben) == ["Ben's"]


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        ({"action": "create"}, ["body.body"]),
        ({"action": "update"}, ["body.body", "body.id"]),
        ({"action": "update", "id": "0" * 24}, ["body.body"]),
        ({"action": "delete"}, ["body.id"]),
        ({"action": "create", "id": "0" * 24, "version": 1, "body": {}}, ["body.id", "body.version"]),
        ({"action": "delete", "id": "0" * 24, "body": {}}, ["body.body"]),
    ],
)
async def test_an_operation_says_what_it_needs_and_nothing_else(
    as_ana: httpx.AsyncClient, operation: Json, fields: list[str]
) -> None:
    [found] = await results(as_ana, operation)

    assert found["status"] == 422
    assert [each["field"] for each in found["error"]["fields"]] == fields
    assert await titles(as_ana) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.operations"),
        ({"operations": []}, "body.operations"),
        ({"operations": [create()] * (MAX_OPERATIONS + 1)}, "body.operations"),
        ({"operations": [create(), {"action": "drop"}]}, "body.operations.1.action"),
        ({"operations": [{"action": "delete", "id": "x"}]}, "body.operations.0.id"),
        ({"operations": [{**create(), "version": 0}]}, "body.operations.0.version"),
        ({"operations": [{**create(), "x": 1}]}, "body.operations.0.x"),
        ({"operations": [create(metadata={"a.b": "c"})]}, "body"),
    ],
)
async def test_a_request_that_cannot_be_read_does_nothing(as_ana: httpx.AsyncClient, body: Json, field: str) -> None:
    assert fields_at_fault(await as_ana.post(PATH, json=body)) == [field]
    assert await titles(as_ana) == []


async def test_who_may_not_write_may_not_write_in_bulk(
    anonymous: httpx.AsyncClient, as_analyst: httpx.AsyncClient, as_ana: httpx.AsyncClient
) -> None:
    assert (await send(anonymous, create())).status_code == 401
    assert (await send(as_analyst, create())).status_code == 403
    assert (await send(as_ana, create(), path="/api/users/bulk")).status_code == 403


async def test_a_repeated_request_with_its_key_happens_once(as_ana: httpx.AsyncClient) -> None:
    operations = [create("a"), create("b")]

    first = await results(as_ana, *operations, key="one")
    second = await results(as_ana, *operations, key="one")

    assert second == first
    assert await titles(as_ana) == ["a", "b"]


async def test_a_repeat_after_a_partial_failure_does_the_rest_and_doubles_nothing(
    as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient
) -> None:
    conversation = await new_conversation(as_ana)
    await as_ana.delete(f"/api/conversations/{conversation['id']}")
    operations = [create("a"), {"action": "update", "id": conversation["id"], "body": {"title": "back"}}, create("b")]

    assert [each["status"] for each in await results(as_ana, *operations, key="one")] == [201, 404, 201]
    await as_ana.post(f"/api/conversations/{conversation['id']}/restore")

    assert [each["status"] for each in await results(as_ana, *operations, key="one")] == [201, 200, 201]
    assert await titles(as_ana) == ["a", "b", "back"]


@pytest.mark.parametrize("first", [create("a"), create("x" * 501)], ids=["done", "failed"])
async def test_a_key_that_came_with_another_request_lets_nothing_happen(as_ana: httpx.AsyncClient, first: Json) -> None:
    await results(as_ana, first, key="one")
    before = await titles(as_ana)

    refused = await send(as_ana, create("other"), create("one more"), key="one")

    assert refused.status_code == 422
    assert refused.json()["code"] == "idempotency_key_reused"
    assert await titles(as_ana) == before


@pytest.mark.mongod
async def test_the_same_request_ten_times_at_once_happens_once(as_ana: httpx.AsyncClient) -> None:
    operations = [create(str(number)) for number in range(5)]

    answers = await asyncio.gather(*(results(as_ana, *operations, key="one") for _ in range(10)))

    assert all(answer == answers[0] for answer in answers)
    assert await titles(as_ana) == [str(number) for number in range(5)]


async def test_users_are_written_in_bulk_by_admins(as_admin: httpx.AsyncClient) -> None:
    def user(email: str) -> Json:
        return {"action": "create", "body": {"email": email, "name": "N"}}

    found = await results(as_admin, user("a@example.com"), user("A@example.com"), user("b"), path="/api/users/bulk")

    assert [each["status"] for each in found] == [201, 409, 422]
    assert found[1]["error"]["fields"] == [{"field": "body.email", "message": "is taken already"}]


async def test_operations_behind_an_outage_are_not_tried(services: Services) -> None:
    """Each of a thousand would otherwise wait until its own deadline."""
    tried: list[str] = []

    async def make(body: Mapping[str, Any]) -> Row:
        tried.append(body["title"])
        if body["title"] == "b":
            raise ServerSelectionTimeoutError("no primary")
        return {"_id": ObjectId(), "version": 1}

    async def unused(*_: Any) -> Any:
        raise AssertionError

    async def remove(_: ObjectId, __: Versions) -> None:
        await unused()

    request = BulkRequest(operations=[BulkOperation(**create(title)) for title in "abcd"])
    once = Once(services.database.transactions, "owner", "route", None, "fingerprint")
    response = await BulkWriter(make, unused, remove).run(request, once)

    answer = httpx.Response(200, content=bytes(response.body)).json()
    assert [each["status"] for each in answer["results"]] == [201, 503, 503, 503]
    assert answer["failed"] == 3
    assert tried == ["a", "b"]


@pytest.mark.slow
@pytest.mark.mongod
async def test_a_thousand_operations_are_one_request(as_ana: httpx.AsyncClient) -> None:
    found = await results(as_ana, *(create(f"{number:03}") for number in range(MAX_OPERATIONS)))

    assert {each["status"] for each in found} == {201}
    assert await titles(as_ana) == [f"{number:03}" for number in range(MAX_OPERATIONS)]
