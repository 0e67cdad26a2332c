"""Columns of the rows that a row belongs to: read once a batch, and only what may be seen."""

from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.services import Services
from tests.conftest import Person
from tests.exports.files import export, fill, read_csv, read_jsonl


async def test_messages_with_their_conversation_and_owner(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    await fill(services, ana.id, ["one", "two"], model="gpt", tags=["a", "b"])
    response = await export(
        as_ana, "messages", format="csv", columns="content,conversation.title,conversation.tags,owner.email"
    )
    user = await as_ana.get("/api/users/me")

    assert read_csv(response.content) == [
        ["Content", "Conversation: Title", "Conversation: Tags", "Owner: E-mail"],
        ["one", "Filled", '["a","b"]', user.json()["email"]],
        ["two", "Filled", '["a","b"]', user.json()["email"]],
    ]


async def test_json_lines_nest_what_is_joined(services: Services, as_ana: httpx.AsyncClient, ana: Person) -> None:
    await fill(services, ana.id, ["one"], model="gpt")
    response = await export(as_ana, "messages", format="jsonl", columns="seq,conversation.model,owner.name")
    user = await as_ana.get("/api/users/me")

    assert read_jsonl(response.content) == [
        {"seq": 1, "conversation": {"model": "gpt"}, "owner": {"name": user.json()["name"]}}
    ]


async def test_what_is_gone_is_empty(services: Services, as_analyst: httpx.AsyncClient) -> None:
    await fill(services, ObjectId(), ["one"])
    response = await export(as_analyst, "messages", format="jsonl", columns="content,owner.name")

    assert read_jsonl(response.content) == [{"content": "one", "owner": {"name": None}}]


async def test_a_column_that_is_not_there_is_refused_with_those_that_are(as_ana: httpx.AsyncClient) -> None:
    response = await as_ana.get("/api/messages/export", params={"columns": "content,owner.password_hash"})

    assert response.status_code == 422
    assert "has no 'owner.password_hash'; there are id, " in response.json()["detail"]
    assert "owner.email, owner.name" in response.json()["detail"]


async def test_each_join_is_one_query_a_batch(
    services: Services, ana: Person, as_ana: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await fill(services, ana.id, ["one", "two"])
    asked: list[str] = []
    for rows in services.sources.values():
        of_ids = rows.of_ids

        async def counted(*args: Any, of_ids: Any = of_ids, name: str = rows.resource.name, **named: Any) -> Any:
            asked.append(name)
            return await of_ids(*args, **named)

        monkeypatch.setattr(rows, "of_ids", counted)
    await export(as_ana, "messages", columns="content,conversation.title,owner.email")

    assert sorted(asked) == ["conversations", "users"]
