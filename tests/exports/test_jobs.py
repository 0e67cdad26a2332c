"""Exports as jobs: asked for, followed, fetched, cancelled, removed."""

import asyncio
import base64
import hashlib
import io
from typing import Any

import httpx
import pytest
from blockbuster import BlockBuster
from bson import ObjectId
from pyarrow import parquet

from app.auth.schemas import KeyCreate
from app.config import Settings
from app.kit.metrics import exposition
from app.services import Services
from tests.api.calls import fields_at_fault, new_conversation
from tests.api.test_metrics import value
from tests.conftest import Person, client_of
from tests.exports.files import column, export, fill, read_csv, read_jsonl, read_xlsx
from tests.exports.jobs import ask, chunks, done, ended, file_of, look

pytestmark = [pytest.mark.mongod, pytest.mark.usefixtures("at_once")]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Slices of a few rows, so that small exports have many of them."""
    return settings.model_copy(update={"export_slice_rows": 3, "export_max_jobs": 2})


@pytest.mark.parametrize("format", ["csv", "jsonl"])
async def test_the_file_of_a_job_is_that_of_the_direct_export(
    services: Services, as_ana: httpx.AsyncClient, ana: Person, format: str
) -> None:
    await fill(services, ana.id, [f"text {number}, 好" for number in range(10)])
    columns = ["seq", "content", "conversation.title"]
    job = await done(as_ana, format=format, columns=columns)
    file = await file_of(as_ana, job)

    direct = await export(as_ana, "messages", format=format, columns=",".join(columns))
    assert file.content == direct.content
    assert file.headers["content-type"] == direct.headers["content-type"]
    assert (job["rows"], job["bytes"]) == (10, len(file.content))
    assert job["sha256"] == hashlib.sha256(file.content).hexdigest()
    assert job["file"] == f"/api/exports/{job['id']}/file"
    assert job["rows_estimate"] == 10


async def test_jobs_are_counted_among_the_exports(services: Services, as_ana: httpx.AsyncClient, ana: Person) -> None:
    counted = {"name": "verbatim_exports_total", "format": "jsonl", "outcome": "completed"}
    before = value(exposition().decode(), **counted)
    await fill(services, ana.id, ["one"])
    await done(as_ana, format="jsonl", columns=["content"])

    async with asyncio.timeout(10):
        while value(exposition().decode(), **counted) == before:  # noqa: ASYNC110 counted a moment after it is seen
            await asyncio.sleep(0.01)
    assert value(exposition().decode(), **counted) == before + 1


async def test_a_workbook_is_written_whole(services: Services, as_ana: httpx.AsyncClient, ana: Person) -> None:
    await fill(services, ana.id, [f"text {number}" for number in range(10)])
    job = await done(as_ana, format="xlsx", columns=["content"])
    file = await file_of(as_ana, job)

    assert read_xlsx(file.content) == [["Content"], *([f"text {number}"] for number in range(10))]
    assert (job["rows"], job["bytes"]) == (10, len(file.content))
    assert file.headers["content-disposition"] == f'attachment; filename="{job["filename"]}"'
    assert job["filename"].endswith(".xlsx")


async def test_parquet_is_written_whole(services: Services, as_ana: httpx.AsyncClient, ana: Person) -> None:
    await fill(services, ana.id, [f"text {number}" for number in range(10)])
    job = await done(as_ana, format="parquet", columns=["seq", "content"])
    table = parquet.read_table(io.BytesIO((await file_of(as_ana, job)).content))

    assert table.to_pylist() == [{"seq": number + 1, "content": f"text {number}"} for number in range(10)]
    assert job["rows"] == 10


async def test_turns_are_exported_and_continued_like_messages(as_ana: httpx.AsyncClient) -> None:
    conversation = await new_conversation(as_ana)
    path = f"/api/conversations/{conversation['id']}/turns"
    turn = (await as_ana.post(path, json={"content": "Hello"})).json()
    first = await done(as_ana, "turns", columns=["id", "state"], format="jsonl")
    second = await done(as_ana, "turns", columns=["id"], format="jsonl", since=first["token"])

    assert read_jsonl((await file_of(as_ana, first)).content) == [{"id": turn["id"], "state": "completed"}]
    assert read_jsonl((await file_of(as_ana, second)).content) == [{"id": turn["id"]}]


@pytest.mark.parametrize(("format", "content"), [("csv", b"\xef\xbb\xbfContent\r\n"), ("jsonl", b"")])
async def test_an_export_without_rows_has_a_file_too(as_ana: httpx.AsyncClient, format: str, content: bytes) -> None:
    job = await done(as_ana, format=format, columns=["content"])

    assert (await file_of(as_ana, job)).content == content
    assert (job["rows"], job["bytes"]) == (0, len(content))


async def test_filters_are_those_of_the_list_whatever_their_type(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    await fill(services, ana.id, ["Mocha", "coming", "more mocha", "done"])
    filters = {"seq__lte": 3, "model__exists": False, "q": "mocha", "sort": "-created_at"}
    job = await done(as_ana, filters=filters)

    assert column(read_csv((await file_of(as_ana, job)).content), "Content") == ["more mocha", "Mocha"]
    assert job["filters"] == {"seq__lte": "3", "model__exists": "false", "q": "mocha", "sort": "-created_at"}


async def test_a_filter_on_a_dotted_column_is_stored_as_it_is(as_ana: httpx.AsyncClient) -> None:
    job = await done(as_ana, filters={"feedback.rating": "up"})
    assert job["filters"] == {"feedback.rating": "up"}


REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["body.resource"]),
    ({"resource": "secrets"}, ["body.resource"]),
    ({"resource": "messages", "format": "pdf"}, ["body.format"]),
    ({"resource": "messages", "columns": ["content", "hash"]}, ["body.columns"]),
    ({"resource": "messages", "filters": {"seq": "x", "nope": 1}}, ["body.filters.seq", "body.filters.nope"]),
    ({"resource": "messages", "filters": {"limit": 1}}, ["body.filters.limit"]),
    ({"resource": "messages", "filters": {"$where": "1"}}, ["body.filters.$where"]),
    ({"resource": "conversations", "filters": {"sort": "title"}}, ["body.filters.sort"]),
    ({"resource": "messages", "since": "no token"}, ["body.since"]),
    ({"resource": "messages", "more": 1}, ["body.more"]),
    (
        {"resource": "conversations", "format": "pdf", "columns": ["hash"], "tz": "Mars", "since": "no token",
         "filters": {"sort": "title", "nope": 1}},
        [f"body.{each}" for each in ("since", "format", "columns", "tz", "filters.sort", "filters.nope")],
    ),
    ({"resource": "secrets", "format": "pdf", "tz": "Mars"}, ["body.resource", "body.format", "body.tz"]),
]  # fmt: skip


async def test_what_cannot_be_exported_is_refused_before_anything_is_stored(as_ana: httpx.AsyncClient) -> None:
    for body, fields in REFUSED:
        assert fields_at_fault(await as_ana.post("/api/exports", json=body)) == fields
    assert (await as_ana.get("/api/exports")).json()["items"] == []


async def test_a_repeated_request_is_one_job(as_ana: httpx.AsyncClient) -> None:
    body = {"resource": "users"}
    answers = [await as_ana.post("/api/exports", json=body, headers={"Idempotency-Key": "once"}) for _ in range(2)]

    assert [each.status_code for each in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    assert answers[0].headers["location"] == answers[1].headers["location"]
    assert len((await as_ana.get("/api/exports")).json()["items"]) == 1


async def test_the_manifest_says_what_is_in_the_file(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    await fill(services, ana.id, ["one"])
    job = await done(as_ana, filters={"role": "user"})
    response = await as_ana.get(f"/api/exports/{job['id']}/manifest")
    manifest = response.json()

    assert response.status_code == 200
    for name in ("sha256", "bytes", "rows", "snapshot_at", "filters", "token", "filename"):
        assert manifest[name] == job[name], name
    assert manifest["export_id"] == job["id"]
    assert "Rows written from snapshot_at on are not in the file" in manifest["contents"]
    assert "`streaming`" in manifest["contents"]


async def test_an_answer_that_waits_comes_with_the_end_of_the_job(live_url: str, ana: Person) -> None:
    async with httpx.AsyncClient(base_url=live_url, headers=ana.headers, timeout=30) as client:
        job = await ask(client)
        began = asyncio.get_running_loop().time()
        job = await ended(client, job)
        waited = asyncio.get_running_loop().time() - began
        response = await client.get(f"/api/exports/{job['id']}", params={"wait": 61})

    assert job["state"] == "completed"
    assert waited < 5
    assert response.status_code == 422


async def test_a_user_sees_and_touches_only_their_own(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, as_analyst: httpx.AsyncClient, as_admin: httpx.AsyncClient
) -> None:
    job = await done(as_ana)
    path = f"/api/exports/{job['id']}"

    for stranger in (as_ben, as_analyst):
        for method, each in (("GET", ""), ("GET", "/file"), ("GET", "/manifest"), ("POST", "/cancel"), ("DELETE", "")):
            assert (await stranger.request(method, path + each)).status_code == 404, each
        assert (await stranger.get("/api/exports")).json()["items"] == []
    assert [each["id"] for each in (await as_admin.get("/api/exports")).json()["items"]] == [job["id"]]
    assert (await file_of(as_ana, job)).status_code == 200


async def test_a_job_sees_what_its_owner_may_see_when_it_runs(
    services: Services, as_ana: httpx.AsyncClient, as_analyst: httpx.AsyncClient, ana: Person, ben: Person
) -> None:
    await fill(services, ana.id, ["of ana"])
    await fill(services, ben.id, ["of ben"])

    of_ana = await file_of(as_ana, await done(as_ana, columns=["content"], format="jsonl"))
    of_all = await file_of(as_analyst, await done(as_analyst, columns=["content"], format="jsonl"))

    assert read_jsonl(of_ana.content) == [{"content": "of ana"}]
    assert sorted(each["content"] for each in read_jsonl(of_all.content)) == ["of ana", "of ben"]


async def test_a_key_without_export_begins_nothing(services: Services, app: Any, ana: Person) -> None:
    _, key = await services.keys.create(ana.id, KeyCreate(name="reads", scopes=["read", "write"]))
    async with client_of(app, Person(ana.id, ana.email, key)) as client:
        assert (await client.post("/api/exports", json={"resource": "messages"})).status_code == 403
        assert (await client.get("/api/exports")).status_code == 403


async def test_a_file_that_is_not_there_yet_is_a_conflict(as_ana: httpx.AsyncClient) -> None:
    job = await ask(as_ana)
    response = await file_of(as_ana, job)

    assert response.status_code == 409
    assert response.json()["reason"] == "not_completed"
    await ended(as_ana, job)


async def test_a_removed_job_has_no_file(services: Services, as_ana: httpx.AsyncClient, ana: Person) -> None:
    await fill(services, ana.id, ["one"])
    job = await done(as_ana)
    assert await chunks() > 0

    assert (await as_ana.delete(f"/api/exports/{job['id']}")).status_code == 204

    assert await chunks() == 0
    assert (await file_of(as_ana, job)).status_code == 404


async def test_a_job_blocks_nobody(
    services: Services, as_ana: httpx.AsyncClient, ana: Person, blocking_is_an_error: BlockBuster
) -> None:
    await fill(services, ana.id, ["x" * 10_000] * 10)
    for format in ("csv", "xlsx"):
        job = await done(as_ana, format=format)
        assert (await file_of(as_ana, job)).status_code == 200
    schedule = {"name": "S", "export": {"resource": "messages"}, "time_zone": "Asia/Kathmandu"}
    assert (await as_ana.post("/api/export-schedules", json=schedule)).status_code == 201


async def test_a_job_that_is_over_cannot_be_cancelled(as_ana: httpx.AsyncClient) -> None:
    job = await done(as_ana)
    response = await as_ana.post(f"/api/exports/{job['id']}/cancel")

    assert response.status_code == 409
    assert response.json()["reason"] == "job_is_over"
    assert (await look(as_ana, job))["state"] == "completed"


async def test_a_users_exports_go_with_the_user(
    services: Services, as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    await fill(services, ana.id, ["one"])
    job = await done(as_ana)
    assert (await as_admin.delete(f"/api/users/{ana.id}?conversations=delete")).status_code == 204

    assert await chunks() == 0
    assert (await as_admin.get(f"/api/exports/{job['id']}")).status_code == 404


class TestRanges:
    @pytest.fixture
    async def job(self, services: Services, as_ana: httpx.AsyncClient, ana: Person) -> dict[str, Any]:
        await fill(services, ana.id, [f"text {number}" for number in range(10)])
        return await done(as_ana, format="jsonl", columns=["content"])

    async def test_any_part_of_the_file_can_be_fetched(self, as_ana: httpx.AsyncClient, job: dict[str, Any]) -> None:
        whole = (await file_of(as_ana, job)).content
        size = len(whole)

        for start in range(0, size, 7):
            for end in (start, start + 1, size - 1, size + 100):
                if end < start:
                    continue
                part = await file_of(as_ana, job, Range=f"bytes={start}-{end}")
                assert part.status_code == 206
                assert part.content == whole[start : end + 1]
                assert part.headers["content-range"] == f"bytes {start}-{min(end, size - 1)}/{size}"
                assert part.headers["content-length"] == str(len(part.content))
        assert (await file_of(as_ana, job, Range="bytes=-5")).content == whole[-5:]
        assert (await file_of(as_ana, job, Range=f"bytes={size - 3}-")).content == whole[-3:]

    async def test_what_is_no_part_is_answered_with_the_whole_and_a_part_behind_the_end_is_416(
        self, as_ana: httpx.AsyncClient, job: dict[str, Any]
    ) -> None:
        for header in ("bytes=5-2", "rows=0-1", "bytes=0-1,4-5", "bytes=-", "bytes=a-b"):
            response = await file_of(as_ana, job, Range=header)
            assert (response.status_code, len(response.content)) == (200, job["bytes"])
        for header in (f"bytes={job['bytes']}-", "bytes=99999999-", "bytes=-0"):
            response = await file_of(as_ana, job, Range=header)
            assert response.status_code == 416
            assert response.headers["content-range"] == f"bytes */{job['bytes']}"
            assert response.json()["code"] == "range_not_satisfiable"

    async def test_the_tag_is_the_hash(self, as_ana: httpx.AsyncClient, job: dict[str, Any]) -> None:
        response = await file_of(as_ana, job)
        tag = response.headers["etag"]
        digest = base64.b64encode(hashlib.sha256(response.content).digest()).decode()

        assert tag == f'"{job["sha256"]}"'
        assert response.headers["repr-digest"] == f"sha-256=:{digest}:"
        assert response.headers["accept-ranges"] == "bytes"
        assert (await file_of(as_ana, job, **{"If-None-Match": tag})).status_code == 304
        same = await file_of(as_ana, job, Range="bytes=0-3", **{"If-Range": tag})
        other = await file_of(as_ana, job, Range="bytes=0-3", **{"If-Range": '"another"'})
        assert (same.status_code, other.status_code) == (206, 200)


class TestQuotas:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """No job runs here."""
        return settings.model_copy(update={"export_workers": 0, "export_max_bytes": 1000})

    async def test_so_many_unfinished_jobs_and_no_more(
        self, as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient
    ) -> None:
        jobs = [await ask(as_ana) for _ in range(2)]
        refused = await as_ana.post("/api/exports", json={"resource": "messages"})
        await ask(as_ben)

        assert refused.status_code == 429
        assert refused.json()["code"] == "too_many_jobs"
        assert refused.headers["retry-after"] == "10"
        assert (await as_ana.post(f"/api/exports/{jobs[0]['id']}/cancel")).json()["state"] == "cancelled"
        await ask(as_ana)

    async def test_no_more_files_than_there_is_room_for(self, services: Services, as_ana: httpx.AsyncClient) -> None:
        job = await ask(as_ana)
        values = {"state": "completed", "bytes": 1000}
        await services.exports.rows.collection.update_one({"_id": ObjectId(job["id"])}, {"$set": values})
        refused = await as_ana.post("/api/exports", json={"resource": "messages"})

        assert refused.status_code == 409
        assert refused.json()["reason"] == "export_space"
        assert (await as_ana.delete(f"/api/exports/{job['id']}")).status_code == 204
        await ask(as_ana)


class TestSmallRoom:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"export_max_bytes": 500})

    async def test_a_file_that_grows_too_large_fails_with_a_sentence_and_is_removed(
        self, services: Services, as_ana: httpx.AsyncClient, ana: Person
    ) -> None:
        await fill(services, ana.id, ["x" * 100] * 10)
        job = await ended(as_ana, await ask(as_ana, columns=["content"]))

        assert job["state"] == "failed"
        assert "more than the 500 bytes" in job["error"]["message"]
        await services.exports.jobs.aclose()  # what it does behind the end is done then
        assert await chunks() == 0
