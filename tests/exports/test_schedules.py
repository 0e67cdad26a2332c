"""Exports that start by themselves: when they should, once, and with so many files kept."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.config import Settings
from app.database import Database
from app.exports.calendar import following
from app.exports.model import ExportSchedule, Weekday
from app.exports.schedules import MOST_SCHEDULES
from app.kit.clock import now
from app.services import Services
from tests.api.calls import fields_at_fault
from tests.conftest import Person
from tests.exports.files import fill
from tests.exports.jobs import Json, chunks, ended, process

DAILY: dict[str, Any] = {
    "name": "Nightly",
    "export": {"resource": "messages", "filters": {"feedback.rating__exists": False}},
}


@pytest.mark.parametrize(
    ("after", "at", "zone", "weekday", "expected"),
    [
        ("2026-01-31T05:00", "06:00", "UTC", None, "2026-01-31T06:00"),
        ("2026-01-31T06:00", "06:00", "UTC", None, "2026-02-01T06:00"),
        ("2026-01-31T05:00", "06:00", "Asia/Shanghai", None, "2026-01-31T22:00"),
        ("2026-01-31T23:30", "23:00", "Pacific/Kiritimati", None, "2026-02-01T09:00"),
        ("2026-01-31T05:00", "06:00", "UTC", "monday", "2026-02-02T06:00"),
        ("2026-02-02T06:00", "06:00", "UTC", "monday", "2026-02-09T06:00"),
        ("2026-02-01T23:00", "01:00", "Asia/Tokyo", "monday", "2026-02-08T16:00"),
        # Berlin: clocks go from 02:00 to 03:00 on 29 March, and from 03:00 to 02:00 on 25 October.
        ("2026-03-28T12:00", "06:00", "Europe/Berlin", None, "2026-03-29T04:00"),
        ("2026-03-28T12:00", "02:30", "Europe/Berlin", None, "2026-03-29T01:30"),
        ("2026-03-29T01:30", "02:30", "Europe/Berlin", None, "2026-03-30T00:30"),
        ("2026-10-24T12:00", "02:30", "Europe/Berlin", None, "2026-10-25T00:30"),
        ("2026-10-25T00:30", "02:30", "Europe/Berlin", None, "2026-10-26T01:30"),
    ],
)
def test_a_schedule_follows_the_clocks_of_its_zone(
    after: str, at: str, zone: str, weekday: Weekday | None, expected: str
) -> None:
    instant = datetime.fromisoformat(after).replace(tzinfo=UTC)
    assert following(instant, at, zone, weekday) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca"])
@pytest.mark.parametrize("at", ["00:00", "01:45", "02:30"])
def test_it_is_due_once_on_every_day_of_a_year(zone: str, at: str) -> None:
    instant, days = datetime(2026, 1, 1, tzinfo=UTC), []
    for _ in range(365):
        instant = following(instant, at, zone, None)
        days.append(instant)

    assert len({day.date() for day in days}) >= 364
    gaps = {later - earlier for earlier, later in pairwise(days)}
    assert gaps <= {timedelta(hours=24 + shift) for shift in (-1, -0.5, 0, 0.5, 1)}


async def new_schedule(client: httpx.AsyncClient, **members: Any) -> Json:
    response = await client.post("/api/export-schedules", json={**DAILY, **members})
    assert response.status_code == 201, response.text
    assert response.headers["location"] == f"/api/export-schedules/{response.json()['id']}"
    return dict(response.json())


async def make_due(schedule: Json, ago: timedelta = timedelta(days=3)) -> datetime:
    """Let the schedule have been due for some time; answers since when."""
    instant = now() - ago
    await ExportSchedule.get_pymongo_collection().update_one(
        {"_id": ObjectId(schedule["id"])}, {"$set": {"next_at": instant}}
    )
    return instant


async def jobs_of(client: httpx.AsyncClient, schedule: Json) -> list[Json]:
    """The exports of a schedule, the newest first."""
    response = await client.get("/api/exports", params={"schedule_id": schedule["id"]})
    assert response.status_code == 200, response.text
    return list(response.json()["items"])


@pytest.mark.mongod
@pytest.mark.usefixtures("at_once")
class TestDue:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """The process of the API runs no jobs itself."""
        return settings.model_copy(update={"export_workers": 0})

    async def test_processes_that_look_at_the_same_time_start_one_export(
        self, services: Services, as_ana: httpx.AsyncClient, settings: Settings, empty_database: Database
    ) -> None:
        schedule = await new_schedule(as_ana)
        await make_due(schedule)
        async with process(settings, empty_database) as second, process(settings, empty_database) as third:
            started = await asyncio.gather(
                *(each.schedules.start_due() for _ in range(3) for each in (services, second, third))
            )
            [job] = await jobs_of(as_ana, schedule)
            job = await ended(as_ana, job)

        assert sum(started) == 1
        assert (job["state"], job["schedule_id"]) == ("completed", schedule["id"])
        assert job["filters"] == {"feedback.rating__exists": "false"}
        assert job["expires_at"] is None
        after = (await as_ana.get(f"/api/export-schedules/{schedule['id']}")).json()
        assert datetime.fromisoformat(after["next_at"]) > now()

    async def test_so_many_files_are_kept_the_newest_ones(
        self, services: Services, as_ana: httpx.AsyncClient, settings: Settings, empty_database: Database
    ) -> None:
        schedule = await new_schedule(as_ana, keep=2)
        async with process(settings, empty_database):
            for days in (5, 4, 3, 2):
                await make_due(schedule, timedelta(days=days))
                await services.schedules.start_due()
                await ended(as_ana, (await jobs_of(as_ana, schedule))[0])
        kept = await jobs_of(as_ana, schedule)

        assert len(kept) == 2
        assert await chunks() == 2
        assert kept[0]["created_at"] > kept[1]["created_at"]
        assert (await as_ana.delete(f"/api/export-schedules/{schedule['id']}")).status_code == 204
        assert all(job["expires_at"] is not None for job in await jobs_of(as_ana, schedule))

    async def test_an_incremental_one_goes_on_where_it_was(
        self,
        services: Services,
        as_ana: httpx.AsyncClient,
        ana: Person,
        settings: Settings,
        empty_database: Database,
    ) -> None:
        rows = await fill(services, ana.id, ["old", "new"])
        collection = services.conversations.messages.collection
        await collection.update_many({"_id": rows[0]["_id"]}, {"$set": {"updated_at": now() - timedelta(hours=1)}})
        schedule = await new_schedule(as_ana, incremental=True, export={"resource": "messages"})
        jobs = []
        async with process(settings, empty_database):
            for days in (2, 1):
                await make_due(schedule, timedelta(days=days))
                await services.schedules.start_due()
                jobs.append(await ended(as_ana, (await jobs_of(as_ana, schedule))[0]))

        assert [job["since"] for job in jobs] == [None, jobs[0]["snapshot_at"]]
        assert [job["rows"] for job in jobs] == [2, 1]

    async def test_a_schedule_that_rests_starts_nothing(self, services: Services, as_ana: httpx.AsyncClient) -> None:
        schedule = await new_schedule(as_ana)
        path = f"/api/export-schedules/{schedule['id']}"
        response = await as_ana.patch(path, json={"enabled": False, "export": {"filters": {"feedback.rating": "up"}}})
        await make_due(schedule)

        assert response.status_code == 200, response.text
        assert response.json()["version"] == 2
        assert response.json()["export"]["filters"] == {"feedback.rating__exists": "false", "feedback.rating": "up"}
        assert await services.schedules.start_due() == 0
        stale = await as_ana.patch(path, json={"keep": 3}, headers={"If-Match": '"1"'})
        assert stale.status_code == 412

    async def test_a_user_has_so_many_schedules_and_no_more(self, as_ana: httpx.AsyncClient) -> None:
        for _ in range(MOST_SCHEDULES):
            await new_schedule(as_ana)
        response = await as_ana.post("/api/export-schedules", json=DAILY)
        assert response.status_code == 409


REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"at": "24:00"}, ["body.at"]),
    ({"at": "6:00"}, ["body.at"]),
    ({"time_zone": "Mars/Olympus"}, ["body.time_zone"]),
    ({"time_zone": "../../etc/passwd"}, ["body.time_zone"]),
    ({"every": "hourly"}, ["body.every"]),
    ({"every": "weekly"}, ["body"]),
    ({"weekday": "monday"}, ["body"]),
    ({"keep": 0}, ["body.keep"]),
    ({"export": {"resource": "messages", "since": "x"}}, ["body.export.since"]),
    ({"export": {"resource": "messages", "columns": ["x"]}}, ["body.export.columns"]),
    ({"export": {"resource": "messages", "filters": {"x": "y"}}}, ["body.export.filters.x"]),
]


async def test_what_cannot_be_scheduled_is_refused(as_ana: httpx.AsyncClient) -> None:
    for members, fields in REFUSED:
        response = await as_ana.post("/api/export-schedules", json={**DAILY, **members})
        assert fields_at_fault(response) == fields, members
    assert (await as_ana.get("/api/export-schedules")).json()["items"] == []
