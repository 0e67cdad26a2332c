"""`tz`: instants as the clocks of a place show them, in downloads and in jobs alike."""

import httpx
import pytest

from app.services import Services
from tests.conftest import Person
from tests.exports.files import export, fill, read_csv, read_jsonl

SHANGHAI = "2026-01-31T20:00:00.001+08:00"


async def test_a_download_shows_the_clocks_of_the_place(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    await fill(services, ana.id, ["one"])
    shown = await export(as_ana, "messages", columns="created_at", tz="Asia/Shanghai")
    lines = await export(as_ana, "messages", format="jsonl", columns="created_at", tz="Asia/Shanghai")

    assert read_csv(shown.content)[1] == [SHANGHAI]
    assert read_jsonl(lines.content) == [{"created_at": "2026-01-31T12:00:00.001Z"}]


@pytest.mark.mongod
async def test_so_does_a_job(services: Services, as_ana: httpx.AsyncClient, ana: Person) -> None:
    await fill(services, ana.id, ["one"])
    asked = {"resource": "messages", "columns": ["created_at"], "tz": "Asia/Shanghai"}
    job = (await as_ana.post("/api/exports", json=asked)).json()
    ended = (await as_ana.get(f"/api/exports/{job['id']}", params={"wait": 30})).json()

    assert (ended["state"], ended["tz"]) == ("completed", "Asia/Shanghai")
    assert read_csv((await as_ana.get(ended["file"])).content)[1] == [SHANGHAI]
    assert (await as_ana.get(f"/api/exports/{job['id']}/manifest")).json()["tz"] == "Asia/Shanghai"


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", "", "utc+8"])
async def test_a_zone_that_is_none_is_refused_with_a_sentence(as_ana: httpx.AsyncClient, zone: str) -> None:
    download = await as_ana.get("/api/messages/export", params={"tz": zone})
    job = await as_ana.post("/api/exports", json={"resource": "messages", "tz": zone})

    assert (download.status_code, download.json()["fields"][0]["field"]) == (422, "query.tz")
    assert "Asia/Shanghai" in download.json()["detail"]
    assert (job.status_code, job.json()["fields"][0]["field"]) == (422, "body.tz")
