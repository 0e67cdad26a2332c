"""Processes that append to one conversation at once, one of which is killed: no gaps, nothing lost or doubled."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.conversations.schemas import ConversationCreate, MessageCreate
from app.kit.repository import EVERYTHING
from app.services import Services
from tests.api.calls import Json
from tests.conftest import DATABASE, Person
from tests.conversations.accounts import report, transcript

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
PROCESSES = 5
EACH = 50


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
    assert set(stored.values()) == {f"process {number}:{index}" for number in range(PROCESSES) for index in range(EACH)}
    assert len(stored) == PROCESSES * EACH
    report(f"{PROCESSES} processes, {EACH} appends each", [line["ms"] for line in acknowledged])


@pytest.fixture
async def short_transactions(services: Services) -> AsyncIterator[None]:
    """The database ends a transaction that nobody goes on with after a second, so that a test need not wait longer."""
    admin = services.database.client.admin
    before = await admin.command("setParameter", 1, transactionLifetimeLimitSeconds=1)
    yield
    await admin.command("setParameter", 1, transactionLifetimeLimitSeconds=before["was"])


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
