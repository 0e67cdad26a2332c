"""Numbers have no gaps and no message is lost or doubled, whoever appends at once."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.conversations.schemas import ConversationCreate, MessageCreate
from app.kit.repository import EVERYTHING
from app.services import Services
from tests.api.calls import Json, items, new_conversation
from tests.conftest import Person
from tests.conversations.accounts import report, transcript
from tests.conversations.profiling import profiled

pytestmark = pytest.mark.mongod


async def aborted_transactions(services: Services) -> int:
    status = await services.database.client.admin.command("serverStatus")
    return int(status["transactions"]["totalAborted"])


async def timed(work: Awaitable[httpx.Response]) -> tuple[httpx.Response, float]:
    began = time.perf_counter()
    response = await work
    return response, (time.perf_counter() - began) * 1000


@pytest.mark.parametrize("is_keyed", [False, True])
async def test_fifty_appends_at_once_get_the_numbers_one_to_fifty(
    services: Services, as_ana: httpx.AsyncClient, is_keyed: bool
) -> None:
    conversation = await new_conversation(as_ana)
    path = f"/api/conversations/{conversation['id']}/messages"
    aborted = await aborted_transactions(services)

    def append(number: int) -> Awaitable[tuple[httpx.Response, float]]:
        headers = {"Idempotency-Key": f"key {number}"} if is_keyed else {}
        return timed(as_ana.post(path, json={"role": "user", "content": str(number)}, headers=headers))

    answers = await asyncio.gather(*(append(number) for number in range(50)))

    assert {response.status_code for response, _ in answers} == {201}
    stored = {message["seq"]: message["content"] for message in await transcript(services, conversation["id"])}
    assert stored == {response.json()["seq"]: response.json()["content"] for response, _ in answers}
    assert set(stored.values()) == {str(number) for number in range(50)}
    assert await aborted_transactions(services) == aborted, "writers of one process conflict instead of queueing"
    report(f"50 appends at once, {'with' if is_keyed else 'without'} keys", [each for _, each in answers])


async def test_bulk_appends_at_once_stay_together(services: Services, as_ana: httpx.AsyncClient) -> None:
    conversation = await new_conversation(as_ana)
    path = f"/api/conversations/{conversation['id']}/messages/bulk"

    def body(name: int) -> Json:
        return {"messages": [{"role": "user", "content": f"{name}:{number}"} for number in range(10)]}

    answers = await asyncio.gather(*(as_ana.post(path, json=body(name)) for name in range(10)))

    assert {response.status_code for response in answers} == {201}
    contents = [message["content"] for message in await transcript(services, conversation["id"])]
    groups = [contents[start : start + 10] for start in range(0, 100, 10)]
    assert sorted(groups) == [[f"{name}:{number}" for number in range(10)] for name in range(10)]


async def test_appends_and_a_turn_at_once_share_the_numbers(services: Services, as_ana: httpx.AsyncClient) -> None:
    conversation = await new_conversation(as_ana, model="echo")
    path = f"/api/conversations/{conversation['id']}"

    def append(number: int) -> Awaitable[httpx.Response]:
        return as_ana.post(f"{path}/messages", json={"role": "user", "content": str(number)})

    answers = await asyncio.gather(
        *(append(number) for number in range(10)),
        as_ana.post(f"{path}/turns", json={"content": "and you?"}),
        *(append(number) for number in range(10, 20)),
    )

    assert {response.status_code for response in answers} == {201}
    messages = await transcript(services, conversation["id"])
    assert len(messages) == 22
    turn = next(response.json() for response in answers if "state" in response.json())
    assert turn["state"] == "completed"
    assert turn["assistant_message"]["seq"] == turn["user_message"]["seq"] + 1
    answer = messages[turn["assistant_message"]["seq"] - 1]
    assert (answer["status"], answer["content"]) == ("complete", turn["assistant_message"]["content"])


async def test_appends_against_a_deletion_are_stored_before_it_or_refused(
    services: Services, as_ana: httpx.AsyncClient
) -> None:
    conversation = await new_conversation(as_ana)
    path = f"/api/conversations/{conversation['id']}"

    def append(number: int) -> Awaitable[httpx.Response]:
        return as_ana.post(f"{path}/messages", json={"role": "user", "content": str(number)})

    answers = await asyncio.gather(
        *(append(number) for number in range(10)), as_ana.delete(path), *(append(number) for number in range(10, 20))
    )

    assert {response.status_code for response in answers} <= {201, 204, 404}
    assert await items(as_ana, "/api/messages") == []
    assert (await as_ana.post(f"{path}/restore")).status_code == 200
    stored = await transcript(services, conversation["id"])
    assert len(stored) == sum(response.status_code == 201 for response in answers)
    assert len(await items(as_ana, "/api/messages", limit=100)) == len(stored)


async def test_patches_at_once_lose_nothing(as_ana: httpx.AsyncClient) -> None:
    conversation = await new_conversation(as_ana)
    path = f"/api/conversations/{conversation['id']}"

    answers = await asyncio.gather(
        *(as_ana.patch(path, json={"metadata": {f"key{number}": "x"}}) for number in range(10))
    )

    assert {response.status_code for response in answers} == {200}
    stored = (await as_ana.get(path)).json()
    assert stored["metadata"] == {f"key{number}": "x" for number in range(10)}
    assert stored["version"] == 11


@pytest.mark.slow
async def test_an_append_to_ten_thousand_messages_is_the_same_work_as_to_none(services: Services, ana: Person) -> None:
    conversations = services.conversations
    words = [MessageCreate(role="user", content="x" * 200)]

    async def measured(length: int) -> list[dict[str, Any]]:
        row = await conversations.create(ana.id, ConversationCreate())
        for _ in range(length // 1000):
            await conversations.append(EVERYTHING, row["_id"], words * 1000)
        times = []
        for _ in range(20):
            began = time.perf_counter()
            await conversations.append(EVERYTHING, row["_id"], words)
            times.append((time.perf_counter() - began) * 1000)
        report(f"append to {length} messages", times)
        async with profiled(services.database) as profile:
            await conversations.append(EVERYTHING, row["_id"], words)
            return [work(entry) for entry in await profile.read("conversations", "messages")]

    empty, long = await measured(0), await measured(10_000)

    assert long == empty
    assert [entry["op"] for entry in long] == ["command", "insert"]
    assert sum(entry.get("docsExamined", 0) for entry in long) == 1


def work(entry: dict[str, Any]) -> dict[str, Any]:
    """What an operation did, without how long it took."""
    counted = ("op", "ns", "planSummary", "keysExamined", "docsExamined", "keysInserted", "keysDeleted", "ninserted")
    return {name: entry[name] for name in counted if name in entry}


async def test_whoever_is_in_may_come_in_again_and_others_wait(services: Services) -> None:
    id, order = ObjectId(), []
    inside = asyncio.Event()

    async def first(leave: Callable[[], Awaitable[Any]]) -> None:
        async with services.conversations.alone(id):
            inside.set()
            async with services.conversations.alone(id):
                order.append("again")
            await leave()
            order.append("out")

    async def second() -> None:
        await inside.wait()
        async with services.conversations.alone(id):
            order.append("next")

    await asyncio.gather(first(lambda: asyncio.sleep(0)), second())

    assert order == ["again", "out", "next"]
