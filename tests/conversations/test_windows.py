"""Names, e-mails and titles: every write renews the windows of the row, searches read the index, and nobody sees it."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.conversations.model import Conversation
from app.conversations.resource import CONVERSATIONS
from app.imports import drafts
from app.imports.records import ImportedConversation
from app.imports.service import BATCH_TITLE_CHARACTERS, _take
from app.kit.listing import parse_listing
from app.kit.repository import EVERYTHING, Scope
from app.kit.windows import FIELD, windows_of
from app.services import Services
from app.users.model import User
from app.users.resource import USERS
from tests.api.calls import items, new_conversation, say
from tests.conftest import Person

ROWS = 2000
OWNERS = [ObjectId(), ObjectId()]


async def title_of(services: Services, id: Any) -> str:
    """The stored title, whose windows are right."""
    row = await services.conversations.rows.collection.find_one({"_id": ObjectId(str(id))})
    assert row is not None
    assert row[FIELD] == windows_of([row["title"]])
    return str(row["title"])


async def texts_of(services: Services, email: str) -> tuple[str, str]:
    row = await services.users.rows.collection.find_one({"email": email})
    assert row is not None
    assert row[FIELD] == windows_of([row["email"], row["name"]])
    return row["email"], row["name"]


async def test_every_write_of_a_title_renews_its_windows(services: Services, as_ana: httpx.AsyncClient) -> None:
    made = await new_conversation(as_ana, title="Mocha")
    path = f"/api/conversations/{made['id']}"
    assert await title_of(services, made["id"]) == "Mocha"
    assert (await as_ana.put(path, json={"title": "Latte"})).status_code == 200
    assert await title_of(services, made["id"]) == "Latte"
    assert (await as_ana.patch(path, json={"title": "恋恋笔记本"})).status_code == 200
    assert await title_of(services, made["id"]) == "恋恋笔记本"
    assert (await as_ana.patch(path, json={"tags": ["a"]})).status_code == 200
    assert await title_of(services, made["id"]) == "恋恋笔记本"
    operations = [
        {"action": "create", "body": {"title": "Bulk one"}},
        {"action": "update", "id": made["id"], "body": {"title": "Bulk two"}},
    ]
    results = (await as_ana.post("/api/conversations/bulk", json={"operations": operations})).json()["results"]
    assert [await title_of(services, each["id"]) for each in results] == ["Bulk one", "Bulk two"]


async def test_a_title_that_the_server_gives_has_its_windows(services: Services, as_ana: httpx.AsyncClient) -> None:
    untitled = await new_conversation(as_ana)
    assert await title_of(services, untitled["id"]) == ""
    assert await services.conversations.rows.name(ObjectId(untitled["id"]), "Automatic")
    assert await title_of(services, untitled["id"]) == "Automatic"


@pytest.mark.mongod
async def test_forks_and_turns_keep_the_windows(services: Services, as_ana: httpx.AsyncClient) -> None:
    made = await new_conversation(as_ana, title="Origin")
    await say(as_ana, made, "hello")
    turn = await as_ana.post(f"/api/conversations/{made['id']}/turns", json={"content": "hi"})
    assert turn.status_code == 201
    same = await as_ana.post(f"/api/conversations/{made['id']}/fork", json={"seq": 1})
    other = await as_ana.post(f"/api/conversations/{made['id']}/fork", json={"seq": 1, "title": "Fork"})
    ids = [made["id"], same.json()["id"], other.json()["id"]]
    assert [await title_of(services, id) for id in ids] == ["Origin", "Origin", "Fork"]


@pytest.mark.mongod
@pytest.mark.parametrize("most", [drafts.MAX_MESSAGES, 1])
async def test_imported_conversations_have_their_windows(
    services: Services, ana: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Short ones, and those that are too long for one transaction."""
    monkeypatch.setattr(drafts, "MAX_MESSAGES", most)
    message = {"role": "user", "content": "hello"}
    lines = [{"id": str(number), "title": f"File {number}", "messages": [message] * 2} for number in range(3)]
    file = tmp_path / "file.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))

    report = await services.imports.service.run(file, ana.id)
    stored = await services.conversations.rows.collection.find({"owner_id": ana.id}).to_list()

    assert report.added == 3
    assert {await title_of(services, row["_id"]) for row in stored} == {"File 0", "File 1", "File 2"}


async def test_every_write_of_a_user_renews_their_windows(services: Services, as_admin: httpx.AsyncClient) -> None:
    assert await texts_of(services, "admin@example.com") == ("admin@example.com", "Admin")
    made = (await as_admin.post("/api/users", json={"email": "eva@example.com", "name": "Eva"})).json()
    path = f"/api/users/{made['id']}"
    assert await texts_of(services, "eva@example.com") == ("eva@example.com", "Eva")
    await as_admin.put(path, json={"email": "eve@example.com", "name": "Eve"})
    assert await texts_of(services, "eve@example.com") == ("eve@example.com", "Eve")
    await as_admin.patch(path, json={"name": "王小明"})
    assert await texts_of(services, "eve@example.com") == ("eve@example.com", "王小明")
    await as_admin.patch("/api/users/me", json={"email": "root@example.com"})
    assert await texts_of(services, "root@example.com") == ("root@example.com", "Admin")
    update = {"action": "update", "id": made["id"], "body": {"email": "x@example.com"}}
    await as_admin.post("/api/users/bulk", json={"operations": [update]})
    assert await texts_of(services, "x@example.com") == ("x@example.com", "王小明")
    assert [each["name"] for each in await items(as_admin, "/api/users", q="小明")] == ["王小明"]


async def test_nobody_sees_the_windows(services: Services, as_admin: httpx.AsyncClient) -> None:
    made = await new_conversation(as_admin, title="Mocha")
    responses = [
        await as_admin.get(f"/api/conversations/{made['id']}"),
        await as_admin.get("/api/conversations", params={"q": "och"}),
        await as_admin.get("/api/users", params={"q": "dmi"}),
        await as_admin.get("/api/users/me"),
        await as_admin.get("/api/conversations/export", params={"format": "jsonl"}),
    ]
    row = await services.conversations.rows.extend(EVERYTHING, ObjectId(made["id"]), 1)

    assert {each.status_code for each in responses} == {200}
    assert not any("windows" in each.text for each in responses)
    assert row is not None
    assert FIELD not in row
    for name in (FIELD, f"{FIELD}__exists"):
        assert (await as_admin.get("/api/users", params={name: "a"})).status_code == 422
    for path in ("/api/users", "/api/conversations"):
        for parameters in ({"fields": FIELD}, {"sort": FIELD}):
            assert (await as_admin.get(path, params=parameters)).status_code == 422
    assert (await as_admin.get("/api/users/export", params={"columns": FIELD})).status_code == 422


@pytest.mark.mongod  # mongomock cannot match patterns as we ask for them
async def test_a_row_without_windows_is_found(services: Services, as_ana: httpx.AsyncClient, ana: Person) -> None:
    """As a server before windows has left it."""
    made = await new_conversation(as_ana, title="Old mocha")
    await new_conversation(as_ana, title="Other")
    await services.conversations.rows.collection.update_one({"title": "Old mocha"}, {"$unset": {FIELD: ""}})
    await services.users.rows.collection.update_many({}, {"$unset": {FIELD: ""}})

    for parameters in ({"q": "MOCHA"}, {"q": "old", "match": "prefix"}, {"q": "m.cha", "match": "regex"}):
        assert [each["id"] for each in await items(as_ana, "/api/conversations", **parameters)] == [made["id"]]
    assert [each["id"] for each in await items(as_ana, "/api/conversations", title__has="ld mo")] == [made["id"]]
    assert [each["id"] for each in await items(as_ana, "/api/users", q="ANA@")] == [str(ana.id)]


def user(number: int) -> User:
    return User(email=f"person{number:05}@example.com", name=f"Name {number:05} 王{chr(0x4E00 + number)}")


def conversation(number: int) -> Conversation:
    return Conversation(owner_id=OWNERS[number % 2], title=f"Title {number:05} about {chr(0x4E00 + number)}恋")


def scans(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """The index scans of a plan."""
    below = [plan["inputStage"]] if "inputStage" in plan else plan.get("inputStages", [])
    return [*([plan] if plan["stage"] == "IXSCAN" else []), *(scan for each in below for scan in scans(each))]


@pytest.mark.mongod
@pytest.mark.parametrize(
    ("parameters", "bound"),
    [
        ({"q": "00777"}, '["00777", "00778")'),
        ({"q": f"{chr(0x4E00 + 777)}"}, f'["{chr(0x4E00 + 777)}", "{chr(0x4E00 + 778)}")'),
        ({"title__has": "E 00777 A"}, None),
        ({"q": "title 00777", "match": "prefix"}, None),
        ({"q": "^Title.*(00777|00776) about", "match": "regex"}, None),
        ({"q": "[0-9]+ about 丣", "match": "regex", "case_sensitive": "true"}, None),
        ({"q": "absent"}, '["absent", "absenu")'),
    ],
)
async def test_a_search_reads_the_index_where_it_has_to(
    services: Services, parameters: dict[str, str], bound: str | None
) -> None:
    rows = services.conversations.rows
    await rows.collection.insert_many([conversation(number).to_row() for number in range(ROWS)])
    listing = parse_listing(CONVERSATIONS, parameters.items())
    for scope in (EVERYTHING, Scope({"owner_id": OWNERS[1]})):
        query = scope.where(*listing.all_conditions)
        found = await rows.page(scope, listing)
        plan = await rows.collection.find(query, sort=listing.sort.keys, limit=21).explain()
        [scan] = scans(plan["queryPlanner"]["winningPlan"])
        assert scan["indexName"] in {FIELD, f"owner_{FIELD}"}
        assert bound is None or bound in scan["indexBounds"][FIELD]
        stats = plan["executionStats"]
        assert stats["nReturned"] == len(found.rows)
        assert stats["totalDocsExamined"] <= len(found.rows) + 2, (scope, stats["totalDocsExamined"])
        assert stats["totalKeysExamined"] <= len(found.rows) + 6, (scope, stats["totalKeysExamined"])


@pytest.mark.mongod
async def test_what_others_have_is_not_read(services: Services) -> None:
    """Where all have the same titles but one, the owner is part of the bounds."""
    rows = services.conversations.rows
    same = [Conversation(owner_id=OWNERS[0], title="Mocha at noon").to_row() for _ in range(ROWS)]
    own = [Conversation(owner_id=OWNERS[1], title="Mocha at noon" if n == 5 else f"{n}").to_row() for n in range(ROWS)]
    await rows.collection.insert_many([*same, *own])
    scope = Scope({"owner_id": OWNERS[1]})
    for parameters in ({"q": "cha at"}, {"q": "mocha at noon"}, {"q": "m.cha a[t] n", "match": "regex"}):
        listing = parse_listing(CONVERSATIONS, parameters.items())
        query = scope.where(*listing.all_conditions)
        plan = await rows.collection.find(query, sort=listing.sort.keys, limit=21).explain()
        [scan] = scans(plan["queryPlanner"]["winningPlan"])

        assert len((await rows.page(scope, listing)).rows) == 1
        assert scan["indexName"] == f"owner_{FIELD}"
        assert scan["indexBounds"]["owner_id"] == [f"[ObjectId('{OWNERS[1]}'), ObjectId('{OWNERS[1]}')]"]
        assert plan["executionStats"]["totalKeysExamined"] <= 5


@pytest.mark.mongod
@pytest.mark.parametrize(
    "parameters",
    [{"q": "son00777"}, {"q": "王丣"}, {"name__has": "00777"}, {"email__has": "0777@EXAMPLE"}, {"q": "absent"}],
)
async def test_users_are_searched_in_the_index(services: Services, parameters: dict[str, str]) -> None:
    rows = services.users.rows
    await rows.collection.insert_many([user(number).to_row() for number in range(ROWS)])
    listing = parse_listing(USERS, parameters.items())
    found = await rows.page(EVERYTHING, listing)
    query = EVERYTHING.where(*listing.all_conditions)
    plan = await rows.collection.find(query, sort=listing.sort.keys, limit=21).explain()

    assert len(found.rows) == (0 if parameters == {"q": "absent"} else 1)
    assert [scan["indexName"] for scan in scans(plan["queryPlanner"]["winningPlan"])] == [FIELD]
    assert plan["executionStats"]["totalDocsExamined"] <= 3
    assert plan["executionStats"]["totalKeysExamined"] <= 7


def test_an_import_stores_few_long_titles_in_one_transaction() -> None:
    """More index entries than this make a transaction that the database breaks off."""
    records = [
        ImportedConversation(f"{n}", "x" * 500, tags=(), messages=(), created_at=None, position=n) for n in range(200)
    ]

    assert (
        sum(len(record.title) for record in _take(iter(records)) if isinstance(record, ImportedConversation))
        <= BATCH_TITLE_CHARACTERS + 500
    )
