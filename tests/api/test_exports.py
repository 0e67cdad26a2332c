"""/api/*/export: who may export what, which rows and columns, and what is refused before a byte is sent."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app.auth.schemas import KeyCreate
from app.services import Services
from app.users.schemas import UserCreate
from tests.api.calls import fields_at_fault, new_conversation, say
from tests.conftest import Person, client_of
from tests.exports.files import column, export, fill, open_xlsx, read_csv, read_jsonl, read_parquet, read_xlsx

RESOURCES = ("users", "conversations", "messages", "turns")
FORMATS = ("csv", "xlsx", "jsonl", "parquet")
READERS: dict[str, Any] = {"csv": read_csv, "xlsx": read_xlsx, "parquet": read_parquet}


def labels(response: httpx.Response) -> list[str]:
    return [str(cell) for cell in read_csv(response.content)[0]]


@pytest.mark.parametrize("resource", RESOURCES)
async def test_nobody_exports_without_a_key(anonymous: httpx.AsyncClient, resource: str) -> None:
    assert (await anonymous.get(f"/api/{resource}/export")).status_code == 401


@pytest.mark.parametrize("resource", RESOURCES)
async def test_a_key_without_the_permission_exports_nothing(
    app: FastAPI, services: Services, ana: Person, resource: str
) -> None:
    _, secret = await services.keys.create(ana.id, KeyCreate(name="no exports", scopes=["read", "write"]))
    async with client_of(app, Person(ana.id, ana.email, secret)) as client:
        response = await client.get(f"/api/{resource}/export")

    assert response.status_code == 403
    assert ":export'" in response.json()["detail"]


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"format": "pdf"}, "query.format"),
        ({"format": ""}, "query.format"),
        ({"columns": "id,secret"}, "query.columns"),
        ({"columns": ""}, "query.columns"),
        ({"raw": "yes"}, "query.raw"),
        ({"sort": "version"}, "query.sort"),
        ({"limit": "10"}, "query.limit"),
        ({"after": "x"}, "query.after"),
        ({"fields": "id"}, "query.fields"),
        ({"nonsense": "1"}, "query.nonsense"),
        ({"created_at__gte": "yesterday"}, "query.created_at__gte"),
        ({"q": ""}, "query.q"),
    ],
)
async def test_what_cannot_be_understood_is_refused_by_name(
    as_ana: httpx.AsyncClient, resource: str, parameters: dict[str, str], field: str
) -> None:
    response = await as_ana.get(f"/api/{resource}/export", params=parameters)
    assert fields_at_fault(response) == [field]


@pytest.mark.parametrize("name", ["format", "columns", "raw", "role"])
async def test_a_parameter_given_twice_is_refused(as_ana: httpx.AsyncClient, name: str) -> None:
    response = await as_ana.get(f"/api/messages/export?{name}=user&{name}=csv")
    assert {"field": f"query.{name}", "message": "is given twice"} in response.json()["fields"]


@pytest.mark.mongod
@pytest.mark.parametrize("format", FORMATS)
async def test_a_pattern_the_database_refuses_is_an_error_and_not_a_broken_file(
    as_ana: httpx.AsyncClient, format: str
) -> None:
    await say(as_ana, await new_conversation(as_ana), "hello")
    response = await as_ana.get("/api/messages/export", params={"format": format, "q": "(", "match": "regex"})

    assert fields_at_fault(response) == ["query.q"]
    assert response.json()["code"] == "invalid_pattern"


async def test_everything_that_is_wrong_with_a_download_is_named(as_ana: httpx.AsyncClient) -> None:
    text = "format=pdf&raw=perhaps&columns=id,hash,secret&tz=Mars&tz=Mars&sort=content&seq=x&limit=5"
    response = await as_ana.get(f"/api/messages/export?{text}")
    names = ("tz", "raw", "format", "columns", "tz", "sort", "seq", "limit")
    assert sorted(fields_at_fault(response)) == sorted(f"query.{name}" for name in names)
    assert "has no 'hash', 'secret'; there are id," in response.json()["detail"]
    response = await as_ana.get("/api/stats/messages?format=pdf&raw=perhaps&by=moon&seq=x")
    assert sorted(fields_at_fault(response)) == ["query.by", "query.format", "query.raw", "query.seq"]


@pytest.mark.parametrize("format", FORMATS)
async def test_a_user_exports_their_own_rows_only(
    services: Services, as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, ana: Person, ben: Person, format: str
) -> None:
    await fill(services, ana.id, ["ana says"])
    await fill(services, ben.id, ["ben says"])

    def names(response: httpx.Response, name: str, label: str) -> list[Any]:
        if format == "jsonl":
            return [row[name] for row in read_jsonl(response.content)]
        return column(READERS[format](response.content), label)

    for client, person, text in ((as_ana, ana, "ana says"), (as_ben, ben, "ben says")):
        assert names(await export(client, "users", format=format), "email", "E-mail") == [person.email]
        assert names(await export(client, "messages", format=format), "content", "Content") == [text]
        owners = names(await export(client, "conversations", format=format), "owner_id", "Owner")
        assert owners == [str(person.id)]


async def test_naming_somebody_else_finds_nothing(services: Services, as_ana: httpx.AsyncClient, ben: Person) -> None:
    rows = await fill(services, ben.id, ["ben says"])
    for parameters in ({"owner_id": str(ben.id)}, {"id": str(rows[0]["_id"])}, {"q": "ben"}):
        assert len(read_csv((await export(as_ana, "messages", **parameters)).content)) == 1


async def test_analysts_and_admins_export_everybodys_rows(
    services: Services, as_analyst: httpx.AsyncClient, as_admin: httpx.AsyncClient, ana: Person, ben: Person
) -> None:
    await fill(services, ana.id, ["ana says"])
    await fill(services, ben.id, ["ben says"])
    for client in (as_analyst, as_admin):
        table = read_csv((await export(client, "messages")).content)
        assert sorted(column(table, "Content")) == ["ana says", "ben says"]


@pytest.mark.parametrize("format", FORMATS)
async def test_secrets_are_in_no_export(services: Services, as_admin: httpx.AsyncClient, format: str) -> None:
    await services.users.create(UserCreate(email="zoe@example.com", name="Zoe", password=SecretStr("correct horse")))
    response = await export(as_admin, "users", format=format)
    text = response.text
    if format == "xlsx":
        text = repr([list(sheet.values) for sheet in open_xlsx(response.content)])
    if format == "parquet":
        text = repr(read_parquet(response.content))

    assert "zoe@example.com" in text
    for secret in ("password", "argon2", "hash", "vb_"):
        assert secret not in text.lower()


@pytest.mark.parametrize("name", ["password_hash", "hash", "_id", "version", "content.x", "$where"])
async def test_hidden_fields_cannot_be_chosen(as_admin: httpx.AsyncClient, name: str) -> None:
    response = await as_admin.get("/api/users/export", params={"columns": f"id,{name}"})
    assert fields_at_fault(response) == ["query.columns"]
    assert repr(name) in response.json()["detail"]


@pytest.mark.parametrize("format", FORMATS)
async def test_chosen_columns_come_in_their_order(
    services: Services, as_ana: httpx.AsyncClient, ana: Person, format: str
) -> None:
    await fill(services, ana.id, ["one"])
    names = "content, seq,feedback.rating,id,content"
    response = await export(as_ana, "messages", format=format, columns=names)

    if format == "jsonl":
        assert [list(row) for row in read_jsonl(response.content)] == [["content", "seq", "feedback", "id"]]
    else:
        table = READERS[format](response.content)
        assert table[0] == ["Content", "Number", "Rating", "Id"]
        assert column(table, "Content") == ["one"]


async def test_without_a_choice_all_columns_come(as_ana: httpx.AsyncClient) -> None:
    for resource, first, last in (
        ("users", "Id", "Updated"),
        ("conversations", "Id", "Updated"),
        ("messages", "Id", "Created"),
    ):
        found = labels(await export(as_ana, resource))
        assert (found[0], found[-1]) == (first, last)


async def test_filters_search_and_sort_are_those_of_the_list(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    await fill(services, ana.id, ["Mocha, please", "coming", "a 恋恋笔记本 mocha", "100% done"])
    for parameters in (
        {},
        {"role": "user"},
        {"sort": "-created_at"},
        {"q": "mocha"},
        {"q": "恋恋笔记本"},
        {"q": "mocha", "case_sensitive": "true"},
        {"q": "100%", "sort": "created_at"},
        {"q": "com", "match": "prefix"},
        {"seq__in": "1,3", "role__ne": "tool", "sort": "created_at"},
        {"created_at__gt": "2026-01-31T12:00:00.001Z", "created_at__lte": "2026-01-31T12:00:00.003Z"},
        {"model__exists": "true"},
    ):
        usual = {"sort": "created_at"}  # an export begins with the oldest row unless it is told otherwise
        listed = (await as_ana.get("/api/messages", params={**usual, **parameters})).json()["items"]
        table = read_csv((await export(as_ana, "messages", **parameters)).content)
        assert column(table, "Id") == [each["id"] for each in listed], parameters


async def test_deleted_conversations_and_their_messages_are_left_out(
    services: Services, as_ana: httpx.AsyncClient
) -> None:
    kept, deleted = await new_conversation(as_ana, title="kept"), await new_conversation(as_ana, title="deleted")
    await say(as_ana, kept, "stays")
    await say(as_ana, deleted, "goes")
    assert (await as_ana.delete(f"/api/conversations/{deleted['id']}")).status_code == 204

    assert column(read_csv((await export(as_ana, "conversations")).content), "Title") == ["kept"]
    assert column(read_csv((await export(as_ana, "messages")).content), "Content") == ["stays"]
    asked = await export(as_ana, "conversations", status="deleted")
    assert column(read_csv(asked.content), "Title") == ["deleted"]


@pytest.mark.parametrize(
    ("format", "media_type"),
    [
        ("csv", "text/csv; charset=utf-8"),
        ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("jsonl", "application/x-ndjson"),
        ("parquet", "application/vnd.apache.parquet"),
    ],
)
async def test_the_file_has_a_name_a_type_and_is_not_cached(
    as_ana: httpx.AsyncClient, format: str, media_type: str
) -> None:
    headers = (await export(as_ana, "messages", format=format)).headers
    name = headers["content-disposition"].removeprefix('attachment; filename="').removesuffix('"')
    assert headers["content-type"] == media_type
    assert headers["cache-control"] == "no-store"
    assert name.startswith("messages-2")
    assert name.endswith(f"Z.{format}")


async def test_an_export_without_rows_is_whole(as_ana: httpx.AsyncClient) -> None:
    assert len(read_csv((await export(as_ana, "messages")).content)) == 1
    assert len(read_xlsx((await export(as_ana, "messages", format="xlsx")).content)) == 1
    assert (await export(as_ana, "messages", format="jsonl")).content == b""
