"""Servers are killed while they export: every job goes on elsewhere, and its file is what it would have been."""

import asyncio
import hashlib
import random
import secrets
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection

from app.database import CLIENT_OPTIONS
from app.jobs.endings import MOST_DEATHS
from tests.exports.jobs import Json, ask
from tests.faults.fleet import Fleet
from tests.faults.nursery import Nursery
from tests.turns.conftest import new_conversation

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

JOBS = 10
KILLS = 7
SERVERS = 3
ROWS = 1000
SLICE = 20
LEASE = 1.0
COLUMNS = (["seq", "content"], ["id", "content", "conversation.title", "created_at"], None)
FILTERS: tuple[dict[str, Any], ...] = ({}, {"sort": "-created_at"}, {"seq__gt": 5})
WHOLE = ("xlsx", "parquet")
"""Formats whose files begin again where others are resumed, which a job does `MOST_DEATHS - 1` times."""
WRITTEN_WHOLE = [*product(WHOLE, COLUMNS[1:], FILTERS[:1])]
RESUMED = [(format, *rows) for format in ("csv", "jsonl") for rows in zip(COLUMNS, FILTERS, strict=True)]

UNFINISHED = {"state": {"$in": ["queued", "running"]}}
UNDONE = {
    "state": "queued",
    "worker": None,
    "attempt": 0,
    "setbacks": 0,
    "rows": 0,
    "bytes": 0,
    "position": None,
    "sha256": None,
    "filename": None,
    "token": None,
    "started_at": None,
    "finished_at": None,
    "expires_at": None,
}

Jobs = AsyncCollection[dict[str, Any]]


async def _fill(client: httpx.AsyncClient) -> None:
    path = await new_conversation(client, title="Long, very")
    for first in range(0, ROWS, 1000):
        messages = [{"role": "user", "content": f'{number}: "好", =1\n' * 9} for number in range(first, first + 1000)]
        response = await client.post(f"{path}/messages/bulk", json={"messages": messages})
        assert response.status_code in {200, 201}, response.text


async def _ask_all(client: httpx.AsyncClient, wanted: Iterable[tuple[str, Any, Json]]) -> list[Json]:
    return [await ask(client, format=format, columns=columns, filters=filters) for format, columns, filters in wanted]


async def _advances(jobs: Jobs) -> int:
    """The slices that are stored, in all."""
    return sum([row["rows"] // SLICE for row in await jobs.find({}, {"rows": 1}).to_list()])


async def _kill_any(fleet: Fleet, jobs: Jobs, rng: random.Random) -> int:
    """Kill a server; answers how many jobs ran just then, on whichever."""
    running = await jobs.count_documents({"state": "running"})
    await fleet.kill(await fleet.pick(rng))
    return running


async def _kill_soon(fleet: Fleet, jobs: Jobs, rng: random.Random) -> int:
    """Kill a server while files are written that show no slices; answers how many jobs ran."""
    await fleet.has(2)
    while not await jobs.find_one({"state": "running"}) and await jobs.find_one(UNFINISHED):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.sleep(rng.uniform(0, 0.3))
    return await _kill_any(fleet, jobs, rng)


async def _kill_between_slices(fleet: Fleet, jobs: Jobs, rng: random.Random) -> int:
    """Kill a server when some more slices were stored; answers how many jobs ran."""
    await fleet.has(2)
    enough = await _advances(jobs) + rng.randint(1, 60)
    while await _advances(jobs) < enough and await jobs.find_one(UNFINISHED):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.sleep(rng.uniform(0, 0.05))  # any moment of a slice will do
    return await _kill_any(fleet, jobs, rng)


async def _undisturbed(client: httpx.AsyncClient, job: Json) -> bytes:
    columns = {} if job["columns"] is None else {"columns": ",".join(job["columns"])}
    response = await client.get("/api/messages/export", params={"format": job["format"], **columns, **job["filters"]})
    assert response.status_code == 200, response.text
    return response.content


async def _again(client: httpx.AsyncClient, jobs: Jobs, job: Json) -> Json:
    """The same job, of the same snapshot, once more."""
    row = await jobs.find_one({"_id": ObjectId(job["id"])})
    assert row is not None
    row |= {**UNDONE, "_id": ObjectId()}
    await jobs.insert_one(row)
    return dict((await client.get(f"/api/exports/{row['_id']}", params={"wait": 60})).json())


def _told(row: Json) -> tuple[str, int]:
    return row["format"], row["attempt"]


@pytest.mark.timeout(300)
async def test_ten_exports_survive_servers_that_are_killed_at_random(
    tmp_path: Path, nursery: Nursery, shared: dict[str, Any]
) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    settings = {"turn_lease": LEASE, "export_slice_rows": SLICE, "export_max_jobs": JOBS, "log_level": "warning"}
    async with (
        Fleet(nursery, tmp_path, SERVERS, search_builder=False, **settings, **shared) as fleet,
        AsyncMongoClient[dict[str, Any]](shared["mongo_uri"], **CLIENT_OPTIONS) as database,
    ):
        jobs: Jobs = database[shared["database"]]["exports"]
        client = fleet.serving[0].client
        await _fill(client)
        asked = await _ask_all(client, WRITTEN_WHOLE)
        ran = [await _kill_soon(fleet, jobs, rng) for _ in range(MOST_DEATHS - 1)]  # one more could fail a job
        client = (await fleet.pick(rng)).client
        for job in asked:
            assert (await client.get(f"/api/exports/{job['id']}", params={"wait": 60})).json()["state"] == "completed"
        asked += await _ask_all(client, RESUMED)
        ran += [await _kill_between_slices(fleet, jobs, rng) for _ in range(KILLS - len(ran))]
        client = (await fleet.pick(rng)).client
        for job in asked:
            response = await client.get(f"/api/exports/{job['id']}", params={"wait": 60})
            ended = response.json()
            assert ended["state"] == "completed", ended
            file = (await client.get(f"/api/exports/{job['id']}/file")).content
            assert hashlib.sha256(file).hexdigest() == ended["sha256"]
            again = await _again(client, jobs, ended)
            assert (again["state"], again["sha256"]) == ("completed", ended["sha256"])
            if job["format"] not in WHOLE:  # those say when they were written
                assert hashlib.sha256(await _undisturbed(client, ended)).hexdigest() == ended["sha256"]
        asked_ids = [ObjectId(job["id"]) for job in asked]
        rows = await jobs.find({"_id": {"$in": asked_ids}}, {"attempt": 1, "format": 1}).to_list()
        attempts = [row["attempt"] for row in rows]
        print(f"\njobs that ran at each kill: {ran}; attempts: {sorted(map(_told, rows))}")
        assert await jobs.distinct("state") == ["completed"]

    assert len(attempts) == len(asked) == JOBS
    assert sum(attempts) > JOBS
    assert fleet.tracebacks == []


async def test_a_server_that_is_told_to_stop_gives_its_export_to_another_at_once(
    tmp_path: Path, nursery: Nursery, shared: dict[str, Any]
) -> None:
    """With a lease of ten minutes: nobody has to find out that it is gone."""
    settings = {"turn_lease": 600, "export_slice_rows": 1, "search_builder": False, **shared}
    async with nursery.server(tmp_path / "a", **settings) as first, first.client() as client:
        await _fill(client)
        job = await ask(client)
        while (await client.get(f"/api/exports/{job['id']}")).json()["rows"] < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert await first.terminate() == 0
        assert "Traceback" not in first.log, first.log
    settings["export_slice_rows"] = 2000
    async with nursery.server(tmp_path / "b", **settings) as second, second.client() as client:
        given_back = (await client.get(f"/api/exports/{job['id']}")).json()
        ended = (await client.get(f"/api/exports/{job['id']}", params={"wait": 60})).json()
        file = (await client.get(f"/api/exports/{job['id']}/file")).content
        undisturbed = await _undisturbed(client, ended)

    assert given_back["state"] in {"queued", "running", "completed"}
    assert (ended["state"], file == undisturbed) == ("completed", True)
