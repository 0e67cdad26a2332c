"""Numbers have no gaps and no message is lost or doubled, whoever appends at once."""

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.conversations.schemas import ConversationCreate, MessageCreate
from app.kit.repository import EVERYTHING, Row
from app.services import Services
from tests.api.calls import Json, items, new_conversation
from tests.conftest import DATABASE, Person
from tests.conversations.profiling import profiled

pytestmark = pytest.mark.mongod

ROOT = Path(__file__).parents[2]
PROCESSES = 5
EACH = 50


def report(what: str, milliseconds: list[float]) -> None:
    ordered = sorted(milliseconds)
    median, last = ordered[len(ordered) // 2], ordered[-1]
    print(f"\n{what}: p50 {median:.1f} ms, p95 {ordered[len(ordered) * 95 // 100]:.1f} ms, max {last:.1f} ms", end="")


async def transcript(services: Services, id: str) -> list[Row]:
    """All stored messages in order; fails unless their numbers are 1 to N and the conversation agrees."""
    conversation = await services.conversations.rows.get(EVERYTHING, ObjectId(id))
    rows = services.conversations.messages.collection
    messages = await rows.find({"conversation_id": ObjectId(id)}, sort=[("seq", 1)]).to_list()
    assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1))
    assert conversation["last_seq"] == conversation["message_count"] == len(messages)
    return messages


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


async def test_appends_and_a_turn_at_once_share_the_numbers(
    services: Services, as_ana: httpx.AsyncClient
) -> None:
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


@asynccontextmanager
async def appender(uri: str, folder: Path, id: str, count: int, name: str) -> AsyncIterator[Process]:
    """Another process that is ready to append and waits for a line."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("VERBATIM_")},
        "PYTHONPATH": str(ROOT),
        "VERBATIM_MONGO_URI": uri,
        "VERBATIM_DATABASE": DATABASE,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.conversations.appender", id, str(count), name),
        env=environment,
        cwd=folder,
        stdin=PIPE,
        stdout=PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def said(process: Process, count: int | None = None) -> list[Json]:
    """What the process says it has stored, up to `count` lines or to its end."""
    assert process.stdout is not None
    lines: list[Json] = []
    while count is None or len(lines) < count:
        line = await process.stdout.readline()
        if not line.endswith(b"\n"):  # the end, or a line that a kill has cut
            break
        lines.append(json.loads(line))
    return lines


@asynccontextmanager
async def all_of(starts: list[Any]) -> AsyncIterator[list[Process]]:
    entered = await asyncio.gather(*(start.__aenter__() for start in starts))
    try:
        yield entered
    finally:
        await asyncio.gather(*(start.__aexit__(None, None, None) for start in starts))


@pytest.mark.slow
async def test_five_processes_append_fifty_messages_each_to_one_conversation(
    services: Services, mongo_uri: str, tmp_path: Path, ana: Person
) -> None:
    row = await services.conversations.create(ana.id, ConversationCreate())
    id = str(row["_id"])
    starts = [appender(mongo_uri, tmp_path, id, EACH, f"process {number}") for number in range(PROCESSES)]

    async with all_of(starts) as processes:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
        acknowledged = [line for lines in await asyncio.gather(*map(said, processes)) for line in lines]
        codes = [await process.wait() for process in processes]

    assert codes == [0] * PROCESSES
    stored = {message["seq"]: message["content"] for message in await transcript(services, id)}
    assert stored == {line["seq"]: line["content"] for line in acknowledged}
    assert set(stored.values()) == {
        f"process {number}:{index}" for number in range(PROCESSES) for index in range(EACH)
    }
    assert len(stored) == PROCESSES * EACH
    report(f"{PROCESSES} processes, {EACH} appends each", [line["ms"] for line in acknowledged])


@pytest.fixture
async def short_transactions(services: Services) -> AsyncIterator[None]:
    """The database ends a transaction that nobody goes on with after a second, so that a test need not wait longer."""
    admin = services.database.client.admin
    before = await admin.command("setParameter", 1, transactionLifetimeLimitSeconds=1)
    yield
    await admin.command("setParameter", 1, transactionLifetimeLimitSeconds=before["was"])


@pytest.mark.slow
@pytest.mark.usefixtures("short_transactions")
async def test_a_process_killed_while_it_appends_leaves_no_gap_and_loses_nothing_it_acknowledged(
    services: Services, mongo_uri: str, tmp_path: Path, ana: Person
) -> None:
    row = await services.conversations.create(ana.id, ConversationCreate())
    id = str(row["_id"])
    starts = [appender(mongo_uri, tmp_path, id, 100_000, "killed"), appender(mongo_uri, tmp_path, id, EACH, "other")]

    async with all_of(starts) as (victim, other):
        for process in (victim, other):
            assert process.stdin is not None
            process.stdin.write(b"go\n")
        acknowledged = await said(victim, 10)
        victim.kill()
        acknowledged += await said(victim)
        survived = await said(other)
        assert await other.wait() == 0

    stored = {message["seq"]: message["content"] for message in await transcript(services, id)}
    assert {line["seq"]: line["content"] for line in [*acknowledged, *survived]}.items() <= stored.items()
    assert len(survived) == EACH
    assert len(set(stored.values())) == len(stored) <= len(acknowledged) + EACH + 1
    appended = await services.conversations.append(EVERYTHING, row["_id"], [MessageCreate(role="user", content="next")])
    assert appended.messages[0]["seq"] == len(stored) + 1


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
