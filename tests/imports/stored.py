"""Conversations to import, and what of them is stored."""

from typing import Any

from bson import ObjectId

from app.kit.repository import Row
from app.services import Services
from tests.conftest import Person
from tests.imports.samples import conversation


def numbered(count: int, messages: int = 2) -> list[dict[str, Any]]:
    return [
        conversation(id=f"c-{number}", messages=[{"role": "user", "content": f"{number}/{n}"} for n in range(messages)])
        for number in range(count)
    ]


async def stored(services: Services, owner: Person) -> dict[str, Row]:
    rows = await services.conversations.rows.collection.find({"owner_id": owner.id}).to_list()
    return {row["source_id"]: row for row in rows}


async def transcript(services: Services, id: ObjectId) -> list[Row]:
    return await services.conversations.messages.collection.find({"conversation_id": id}, sort=[("seq", 1)]).to_list()


async def assert_each_once(services: Services, owner: Person, count: int, messages: int = 2) -> None:
    """Every conversation of `numbered` is there once, with its messages in order."""
    rows = await services.conversations.rows.collection.find({"owner_id": owner.id}).to_list()
    assert sorted(row["source_id"] for row in rows) == sorted(f"jsonl:c-{number}" for number in range(count))
    for row in rows:
        said = await transcript(services, row["_id"])
        number = row["source_id"].partition("-")[2]
        assert [(each["seq"], each["content"]) for each in said] == [(n + 1, f"{number}/{n}") for n in range(messages)]
        assert row["last_seq"] == row["message_count"] == messages
