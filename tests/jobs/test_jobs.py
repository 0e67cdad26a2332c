"""Jobs of processes that stop, die, only seem to, or meet errors: each ends once, and its file is whole."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect

from app.config import Settings
from app.database import Database
from app.exports import model as exports
from app.jobs.claims import ClaimLost
from app.jobs.endings import MOST_DEATHS, MOST_FAULTS
from app.jobs.files import JobFiles
from app.jobs.model import FileChunk
from app.kit.clock import now
from app.kit.repository import EVERYTHING, Row
from app.services import Services
from app.turns.model import Worker
from tests.conftest import Person
from tests.exports.files import export, fill, read_xlsx
from tests.exports.jobs import Json, Source, ask, chunks, ended, file_of, look, process

pytestmark = [pytest.mark.mongod, pytest.mark.usefixtures("at_once")]

COLUMNS = ["seq", "content"]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The process of the API runs no jobs itself; those that do store three rows at once."""
    return settings.model_copy(update={"export_workers": 0, "export_slice_rows": 3, "turn_lease": 60})


@pytest.fixture
async def rows(services: Services, ana: Person) -> list[Row]:
    return await fill(services, ana.id, [f"text {number}" for number in range(12)])


@pytest.fixture
def source(services: Services) -> Source:
    """Holds a job when two of its four slices are stored."""
    return Source(services.conversations.messages, free=2)


async def held(source: Source) -> None:
    """Return when a job is held in the middle."""
    async with asyncio.timeout(10):
        await source.is_held.wait()


async def begun(client: httpx.AsyncClient, source: Source, **members: Any) -> Json:
    """A job that is held in the middle."""
    job = await ask(client, columns=COLUMNS, **members)
    await held(source)
    return job


async def is_whole(client: httpx.AsyncClient, job: Json) -> bool:
    """Whether the file is that of an export that nothing has disturbed."""
    direct = await export(client, "messages", format=job["format"], columns=",".join(COLUMNS))
    file = await file_of(client, job)
    return file.content == direct.content and hashlib.sha256(direct.content).hexdigest() == job["sha256"]


async def set_job(job: Json, **values: Any) -> None:
    await exports.ExportJob.get_pymongo_collection().update_one({"_id": ObjectId(job["id"])}, {"$set": values})


async def bury(services: Services, dead: Services) -> None:
    """Let one process find out that another one is dead."""
    worker = dead.housekeeping._membership.id
    await Worker.get_pymongo_collection().update_one({"_id": worker}, {"$set": {"is_dead": True}})
    await services.exports.jobs.upkeep.tidy([])


@pytest.mark.parametrize("format", ["csv", "jsonl"])
async def test_a_process_that_stops_gives_its_job_back_and_another_goes_on(
    as_ana: httpx.AsyncClient,
    settings: Settings,
    empty_database: Database,
    rows: list[Row],
    source: Source,
    format: str,
) -> None:
    async with process(settings, empty_database, source):
        job = await begun(as_ana, source, format=format)
        assert (await look(as_ana, job))["state"] == "running"
    stopped = await look(as_ana, job)
    async with process(settings, empty_database):
        job = await ended(as_ana, job)

    assert (stopped["state"], stopped["rows"]) == ("queued", 6)
    assert (job["state"], job["rows"]) == ("completed", 12)
    assert await is_whole(as_ana, job)


async def test_a_workbook_is_begun_again(
    as_ana: httpx.AsyncClient, settings: Settings, empty_database: Database, rows: list[Row], source: Source
) -> None:
    async with process(settings, empty_database, source):
        job = await begun(as_ana, source, format="xlsx")
    assert (await look(as_ana, job))["state"] == "queued"
    async with process(settings, empty_database):
        job = await ended(as_ana, job)

    table = read_xlsx((await file_of(as_ana, job)).content)
    assert table == [["Number", "Content"], *([row["seq"], row["content"]] for row in rows)]
    assert job["rows"] == 12


async def test_a_process_that_was_believed_dead_writes_nothing_any_more(
    services: Services,
    as_ana: httpx.AsyncClient,
    settings: Settings,
    empty_database: Database,
    rows: list[Row],
    source: Source,
) -> None:
    job = await ask(as_ana, columns=COLUMNS)
    async with process(settings, empty_database, source, is_deaf=True) as zombie:
        await held(source)
        [attempt] = zombie.exports.jobs._pool._attempts.values()
        await bury(services, zombie)
        other = Source(services.conversations.messages, free=1)
        async with process(settings, empty_database, other):
            await held(other)
            before = await look(as_ana, job)
            source.go_on.set()
            await asyncio.wait({attempt.task})
            assert isinstance(attempt.task.exception(), ClaimLost)
            assert await look(as_ana, job) == before
            other.go_on.set()
            job = await ended(as_ana, job)

    assert job["state"] == "completed"
    assert await is_whole(as_ana, job)


async def test_a_running_job_is_cancelled_from_anywhere_and_leaves_nothing(
    as_ana: httpx.AsyncClient, settings: Settings, empty_database: Database, rows: list[Row], source: Source
) -> None:
    async with process(settings, empty_database, source) as runs:
        job = await begun(as_ana, source)
        assert await chunks() > 0
        [attempt] = runs.exports.jobs._pool._attempts.values()
        response = await as_ana.post(f"/api/exports/{job['id']}/cancel")
        async with asyncio.timeout(10):
            await asyncio.wait({attempt.task})  # its process hears of it, though it writes nothing

    assert (response.status_code, response.json()["state"]) == (200, "cancelled")
    assert (await look(as_ana, job))["state"] == "cancelled"
    assert await chunks() == 0


async def test_a_running_job_can_be_removed(
    as_ana: httpx.AsyncClient, settings: Settings, empty_database: Database, rows: list[Row], source: Source
) -> None:
    async with process(settings, empty_database, source) as runs:
        job = await begun(as_ana, source)
        [attempt] = runs.exports.jobs._pool._attempts.values()
        assert (await as_ana.delete(f"/api/exports/{job['id']}")).status_code == 204
        async with asyncio.timeout(10):
            await asyncio.wait({attempt.task})

    assert await chunks() == 0
    assert (await as_ana.get("/api/exports")).json()["items"] == []


async def test_a_job_that_kills_its_process_fails_with_a_sentence(
    services: Services,
    as_ana: httpx.AsyncClient,
    settings: Settings,
    empty_database: Database,
    rows: list[Row],
) -> None:
    job = await ask(as_ana)
    for death in range(1, MOST_DEATHS + 1):
        await set_job(job, state="running", worker=f"dead {death}", attempt=death)
        await services.exports.jobs.upkeep.tidy([])
        expected = "queued" if death < MOST_DEATHS else "failed"
        job = await look(as_ana, job)
        assert job["state"] == expected

    assert job["error"]["code"] == "process_died"
    assert f"{MOST_DEATHS} times" in job["error"]["message"]


async def test_what_came_forward_between_two_deaths_may_die_again(
    services: Services, as_ana: httpx.AsyncClient, settings: Settings, empty_database: Database, rows: list[Row]
) -> None:
    job = await ask(as_ana, columns=COLUMNS)
    for death in range(MOST_DEATHS + 1):
        source = Source(services.conversations.messages, free=0 if death == 0 else 1)
        async with process(settings, empty_database, source, is_deaf=True) as dies:
            await held(source)
            await bury(services, dies)
            assert (await look(as_ana, job))["state"] == "queued"
    async with process(settings, empty_database):
        job = await ended(as_ana, job)

    assert job["state"] == "completed"
    assert await is_whole(as_ana, job)


async def test_a_database_that_is_away_lets_the_job_wait_and_try_again(
    as_ana: httpx.AsyncClient, settings: Settings, empty_database: Database, rows: list[Row], source: Source
) -> None:
    source.error = AutoReconnect("gone")
    source.go_on.set()
    async with process(settings, empty_database, source) as runs:
        job = await begun(as_ana, source)
        while (row := await runs.exports.rows.find(EVERYTHING, {"_id": ObjectId(job["id"])}))["state"] == "running":  # type: ignore[index] # noqa: ASYNC110
            await asyncio.sleep(0.02)
        stored = await exports.ExportJob.get_pymongo_collection().find_one({})
    assert row is not None
    assert stored is not None
    assert (row["state"], stored["setbacks"]) == ("queued", 1)
    assert now() - timedelta(seconds=1) < stored["not_before"] <= now() + timedelta(seconds=1)

    await set_job(job, not_before=None, setbacks=MOST_FAULTS - 1)
    source = Source(source._real, free=0)
    source.error = AutoReconnect("gone")
    source.go_on.set()
    async with process(settings, empty_database, source):
        job = await ended(as_ana, job)
    assert job["state"] == "failed"
    assert job["error"]["code"] == "unavailable"
    assert await chunks() == 0


async def test_a_fault_of_ours_fails_the_job_without_telling_what(
    as_ana: httpx.AsyncClient, settings: Settings, empty_database: Database, rows: list[Row], source: Source
) -> None:
    source.error = KeyError("secret")
    source.go_on.set()
    async with process(settings, empty_database, source):
        job = await ended(as_ana, await begun(as_ana, source))

    assert job["state"] == "failed"
    assert job["error"]["code"] == "internal_error"
    assert "secret" not in job["error"]["message"]


async def test_the_job_of_a_disabled_user_fails(
    as_ana: httpx.AsyncClient, as_admin: httpx.AsyncClient, ana: Person, settings: Settings, empty_database: Database
) -> None:
    job = await ask(as_ana)
    assert (await as_admin.patch(f"/api/users/{ana.id}", json={"disabled": True})).status_code == 200
    async with process(settings, empty_database):
        job = await ended(as_admin, job)

    assert job["state"] == "failed"
    assert "disabled" in job["error"]["message"]


async def test_who_wants_to_know_of_an_end_is_told_once_and_in_its_transaction(
    services: Services, as_ana: httpx.AsyncClient, settings: Settings, empty_database: Database
) -> None:
    told: list[tuple[ObjectId, str]] = []

    async def note(row: Row) -> None:
        told.append((row["_id"], row["state"]))

    async def refuse(_: Row) -> None:
        raise ZeroDivisionError

    cancelled = await ask(as_ana)
    services.exports.jobs.endings.on_end(note)
    assert (await as_ana.post(f"/api/exports/{cancelled['id']}/cancel")).status_code == 200
    kept = await ask(as_ana)
    services.exports.jobs.endings.on_end(refuse)
    with pytest.raises(ZeroDivisionError):
        await services.exports.jobs.endings.cancel(EVERYTHING, ObjectId(kept["id"]))

    assert told[0] == (ObjectId(cancelled["id"]), "cancelled")
    assert (await look(as_ana, kept))["state"] == "queued"
    async with process(settings, empty_database) as runs:
        runs.exports.jobs.endings.on_end(note)
        await ended(as_ana, kept)
    assert told[-1] == (ObjectId(kept["id"]), "completed")


async def test_jobs_whose_time_is_over_are_removed_with_their_files(
    services: Services, as_ana: httpx.AsyncClient, settings: Settings, empty_database: Database, rows: list[Row]
) -> None:
    async with process(settings, empty_database):
        old, young = await ended(as_ana, await ask(as_ana)), await ended(as_ana, await ask(as_ana))
    expires_at = datetime.fromisoformat(old["expires_at"])
    assert timedelta(days=6.9) < expires_at - datetime.now(UTC) < timedelta(days=7.1)
    await set_job(old, expires_at=now() - timedelta(seconds=1))
    await services.exports.jobs.upkeep.expire()

    assert [each["id"] for each in (await as_ana.get("/api/exports")).json()["items"]] == [young["id"]]
    owners = await FileChunk.get_pymongo_collection().distinct("job_id")
    assert owners == [ObjectId(young["id"])]


async def test_files_of_no_job_are_removed_unless_their_job_may_still_come(services: Services) -> None:
    files = services.exports.jobs.files
    old, young = ObjectId.from_datetime(now() - timedelta(hours=2)), ObjectId()
    for id in (old, young):
        await files.append(id, "file", 0, [b"abc"])
    await JobFiles("of a newer version").append(old, "file", 0, [b"abc"])
    await services.exports.jobs.upkeep.drop_stray_files()

    kept = await FileChunk.get_pymongo_collection().find({}, {"_id": 0, "kind": 1, "job_id": 1}).to_list()
    assert kept == [{"kind": "exports", "job_id": young}, {"kind": "of a newer version", "job_id": old}]


async def test_a_stray_of_our_own_is_given_back_when_it_was_seen_twice(
    services: Services, as_ana: httpx.AsyncClient
) -> None:
    """The answer to a claim was lost."""
    job = await ask(as_ana)
    await set_job(job, state="running", worker=services.housekeeping._membership.id, attempt=1)
    upkeep = services.exports.jobs.upkeep
    upkeep._strays = set()
    await upkeep._take_from_the_dead()
    await upkeep._take_from_the_dead()

    assert (await look(as_ana, job))["state"] == "queued"
