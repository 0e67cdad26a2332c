"""Conversations too long for one transaction: hidden until they are whole, whoever completes them."""

import asyncio
from typing import Any

import httpx
import pytest

from app.imports import drafts
from app.services import Services
from tests.conftest import Person
from tests.imports.conftest import Write
from tests.imports.samples import conversation
from tests.imports.stored import assert_each_once, numbered, stored, transcript


@pytest.fixture
def short_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than three messages are too much for a transaction."""
    monkeypatch.setattr(drafts, "MAX_MESSAGES", 3)


@pytest.mark.usefixtures("short_transactions")
async def test_a_conversation_too_long_for_a_transaction_is_stored_like_others(
    services: Services, as_ana: httpx.AsyncClient, ana: Person, write: Write
) -> None:
    file = write([*numbered(2, messages=3), *numbered(4, messages=10)[2:]])
    report = await services.imports.service.run(file, ana.id)
    again = await services.imports.service.run(file, ana.id)
    rows = await stored(services, ana)

    assert (report.added, report.messages) == (4, 26)
    assert (again.added, again.present) == (0, 4)
    assert {row["status"] for row in rows.values()} == {"active"}
    for number, messages in enumerate((3, 3, 10, 10)):
        said = await transcript(services, rows[f"jsonl:c-{number}"]["_id"])
        assert [each["content"] for each in said] == [f"{number}/{n}" for n in range(messages)]
    assert len((await as_ana.get("/api/messages", params={"limit": 100})).json()["items"]) == 26


@pytest.mark.usefixtures("short_transactions")
async def test_a_text_too_long_for_a_transaction_is_stored(
    services: Services, ana: Person, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafts, "MAX_CHARACTERS", 5)
    messages = [{"role": "user", "content": text} for text in ("123456", "12", "345", "", "1234567")]
    await services.imports.service.run(write([conversation(messages=messages)]), ana.id)
    said = await transcript(services, (await stored(services, ana))["jsonl:good"]["_id"])

    assert [each["content"] for each in said] == ["123456", "12", "345", "", "1234567"]


@pytest.mark.mongod
@pytest.mark.usefixtures("short_transactions")
@pytest.mark.parametrize("step", ["insert_many", "show"])
async def test_a_long_conversation_that_is_cut_short_is_not_seen_until_the_next_run_completes_it(
    services: Services, as_ana: httpx.AsyncClient, ana: Person, write: Write, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    messages, calls = services.conversations.messages, 0
    original = getattr(messages, step)

    async def cut_short(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == {"insert_many": 3, "show": 1}[step]:
            raise KeyError("cut short")
        return await original(*args)

    file = write(numbered(1, messages=10))
    with monkeypatch.context() as patch:
        patch.setattr(messages, step, cut_short)
        with pytest.raises(KeyError, match="cut short"):
            await services.imports.service.run(file, ana.id)
    for resource in ("conversations", "messages"):
        assert (await as_ana.get(f"/api/{resource}")).json()["items"] == []
    assert await messages.collection.count_documents({}) == {"insert_many": 6, "show": 10}[step]

    assert (await services.imports.service.run(file, ana.id)).added == 1
    await assert_each_once(services, ana, 1, messages=10)
    assert len((await as_ana.get("/api/messages")).json()["items"]) == 10


@pytest.mark.mongod
@pytest.mark.usefixtures("short_transactions")
async def test_imports_of_a_long_conversation_at_once_add_it_once(
    services: Services, as_ana: httpx.AsyncClient, ana: Person, write: Write
) -> None:
    file = write(numbered(2, messages=40))
    reports = await asyncio.gather(*(services.imports.service.run(file, ana.id) for _ in range(4)))

    assert sum(report.added for report in reports) == 2
    await assert_each_once(services, ana, 2, messages=40)
    assert len((await as_ana.get("/api/messages", params={"limit": 100})).json()["items"]) == 80


@pytest.mark.mongod
@pytest.mark.slow
async def test_a_very_long_conversation_is_stored_whole(services: Services, ana: Person, write: Write) -> None:
    report = await services.imports.service.run(write(numbered(1, messages=10_000)), ana.id)

    assert (report.added, report.messages) == (1, 10_000)
    await assert_each_once(services, ana, 1, messages=10_000)
