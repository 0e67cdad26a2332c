"""/api/imports: files come in, are followed to their end, told about, and taken back."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.config import Settings
from app.imports import service
from app.jobs.run import Run
from app.kit.repository import EVERYTHING
from app.services import Services
from app.turns.workers import WorkerRepository
from tests.conftest import DATABASE, Person
from tests.imports.samples import line_of
from tests.imports.stored import assert_each_once, numbered

pytestmark = pytest.mark.mongod
PATH = "/api/imports"


def lines(count: int) -> bytes:
    return b"".join(map(line_of, numbered(count)))


async def over(client: httpx.AsyncClient, response: httpx.Response) -> dict[str, Any]:
    """The import when it is over."""
    assert response.status_code == 202, response.text
    location = response.headers["Location"]
    assert location == f"{PATH}/{response.json()['id']}"
    row: dict[str, Any] = (await client.get(location, params={"wait": 30})).json()
    assert row["state"] not in {"queued", "running"}, row
    return row


async def test_a_file_is_imported_told_about_and_taken_back(
    as_ana: httpx.AsyncClient, services: Services, ana: Person
) -> None:
    data = lines(3) + b"{oops\n"
    begun = await as_ana.post(PATH, params={"filename": "talks.jsonl"}, content=data)
    row = await over(as_ana, begun)

    assert begun.json()["state"] == "queued"
    assert [row[name] for name in ("state", "filename", "format", "bytes")] == [
        *("completed", "talks.jsonl", "jsonl", len(data)),
    ]
    assert [row[name] for name in ("conversations", "messages", "present", "bad")] == [3, 6, 0, 1]
    await assert_each_once(services, ana, 3)
    errors = await as_ana.get(f"{PATH}/{row['id']}/errors")
    assert errors.headers["content-type"] == "application/x-ndjson"
    assert json.loads(errors.text)["row"] == "{oops"
    assert int(errors.headers["content-length"]) == row["errors_bytes"] == len(errors.content)
    assert [each["id"] for each in (await as_ana.get(PATH)).json()["items"]] == [row["id"]]

    undo = await over(as_ana, await as_ana.post(f"{PATH}/{row['id']}/undo"))
    assert [undo[name] for name in ("action", "state", "removed", "kept")] == ["undo", "completed", 3, 0]
    assert (await as_ana.get("/api/conversations")).json()["items"] == []
    assert (await as_ana.get(f"{PATH}/{row['id']}")).json()["undone"] == {"id": undo["id"], "removed": 3, "kept": 0}


async def test_a_table_is_looked_at_before_it_is_imported(as_ana: httpx.AsyncClient) -> None:
    data = "Chat;Who;Said\r\n1;human;你好\r\n1;bot;Hello\r\n".encode()
    named: list[tuple[str, Any]] = [
        ("map", "conversation=Chat"),
        ("map", "role=Who"),
        ("map", "content=Said"),
        ("filename", "chats.csv"),
    ]
    dry = await over(as_ana, await as_ana.post(PATH, params=[*named, ("dry_run", "true")], content=data))

    assert (dry["action"], dry["conversations"], dry["messages"]) == ("dry_run", 1, 2)
    assert {"field": "content", "heading": "Said"} in dry["mapping"]
    assert dry["preview"][0]["messages"][0]["content"] == "你好"
    assert (await as_ana.get("/api/conversations")).json()["items"] == []

    row = await over(as_ana, await as_ana.post(PATH, params=named, content=data))
    assert (row["action"], row["conversations"]) == ("import", 1)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\x89PNG\r\n\0", "upload is neither JSON Lines"),
        (b"Text;Other\r\n1;2\r\n", "upload has no column for conversation_id and role"),
    ],
)
async def test_a_file_that_cannot_be_read_fails_with_a_sentence(
    as_ana: httpx.AsyncClient, data: bytes, sentence: str
) -> None:
    row = await over(as_ana, await as_ana.post(PATH, content=data))
    assert (row["state"], row["error"]["code"]) == ("failed", "invalid")
    assert row["error"]["message"].startswith(sentence)
    assert (await as_ana.get(f"{PATH}/{row['id']}/errors")).content == b""


@pytest.mark.parametrize(
    ("parameters", "status", "place"),
    [
        ({"map": "text=Text"}, 422, "query.map"),
        ({"map": "content"}, 422, "query.map"),
        ({"nonsense": "1"}, 422, "query.nonsense"),
        ({"owner_id": "66a0c0ffee66a0c0ffee66a0"}, 403, None),
        ({"restore": "true"}, 403, None),
    ],
)
async def test_what_makes_no_sense_or_is_not_allowed_is_refused_at_once(
    as_ana: httpx.AsyncClient, services: Services, parameters: dict[str, str], status: int, place: str | None
) -> None:
    response = await as_ana.post(PATH, params=parameters, content=lines(1))
    assert response.status_code == status
    assert place is None or response.json()["fields"][0]["field"] == place
    assert (await as_ana.get(PATH)).json()["items"] == []


async def test_a_format_that_is_named_is_the_only_one(as_ana: httpx.AsyncClient) -> None:
    row = await over(as_ana, await as_ana.post(PATH, params={"format": "csv"}, content=lines(1)))
    assert (row["state"], row["error"]["message"]) == ("failed", "upload is jsonl, not csv")
    assert (await as_ana.post(PATH, params={"format": "word"}, content=lines(1))).status_code == 422


async def test_an_admin_imports_for_others(as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person) -> None:
    row = await over(as_admin, await as_admin.post(PATH, params={"owner_id": str(ana.id)}, content=lines(1)))
    assert row["owner_id"] == str(ana.id)
    assert len((await as_ana.get("/api/conversations")).json()["items"]) == 1
    assert (await as_ana.get(f"{PATH}/{row['id']}")).status_code == 200

    nobody = await as_admin.post(PATH, params={"owner_id": "66a0c0ffee66a0c0ffee66a0"}, content=lines(1))
    assert (nobody.status_code, nobody.json()["fields"][0]["field"]) == (422, "query.owner_id")


async def test_the_same_request_again_is_the_same_import(as_ana: httpx.AsyncClient, services: Services) -> None:
    key = {"Idempotency-Key": "once"}
    first = await as_ana.post(PATH, content=lines(2), headers=key)
    again = await as_ana.post(PATH, content=lines(2), headers=key)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    other = await as_ana.post(PATH, content=lines(3), headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")

    await over(as_ana, first)
    assert await services.imports.jobs.files._chunks.count_documents({}) == 0  # no file of any of them is left


class TestLimits:
    @pytest.fixture
    def settings(self, tmp_path: Any) -> Settings:
        """Nobody works, so that imports wait."""
        return Settings(
            _env_file=None,
            data=tmp_path,
            database=DATABASE,
            search_builder=False,
            import_workers=0,
            import_max_bytes=3_000_000,
            import_max_jobs=2,
        )

    async def test_a_file_may_be_larger_than_other_bodies_and_not_too_large(
        self, as_ana: httpx.AsyncClient, services: Services
    ) -> None:
        async def body(pieces: int) -> AsyncIterator[bytes]:
            for _ in range(pieces):
                yield b"x" * 100_000

        assert (await as_ana.post(PATH, content=b"x" * 3_000_001)).status_code == 413
        too_long = await as_ana.post(PATH, content=body(31))
        assert (too_long.status_code, too_long.json()["code"]) == (413, "payload_too_large")
        assert (await as_ana.post(PATH, content=b"")).status_code == 422
        assert await services.imports.jobs.files._chunks.count_documents({}) == 0
        assert (await as_ana.post(PATH, content=body(29))).status_code == 202

    async def test_so_many_imports_of_one_user_wait(self, as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient) -> None:
        for _ in range(2):
            assert (await as_ana.post(PATH, content=lines(1))).status_code == 202
        refused = await as_ana.post(PATH, content=lines(1))
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_jobs")
        assert (await as_ben.post(PATH, content=lines(1))).status_code == 202

    async def test_one_that_waits_is_cancelled_and_forgotten(
        self, as_ana: httpx.AsyncClient, services: Services
    ) -> None:
        id = (await as_ana.post(PATH, content=lines(1))).json()["id"]
        for path in ("errors", "undo"):
            method = "GET" if path == "errors" else "POST"
            assert (await as_ana.request(method, f"{PATH}/{id}/{path}")).status_code == 409
        assert (await as_ana.post(f"{PATH}/{id}/cancel")).json()["state"] == "cancelled"
        assert (await as_ana.post(f"{PATH}/{id}/cancel")).status_code == 409
        assert await services.imports.jobs.files._chunks.count_documents({}) == 0
        assert (await as_ana.delete(f"{PATH}/{id}")).status_code == 204
        assert (await as_ana.get(f"{PATH}/{id}")).status_code == 404

    async def test_another_process_completes_what_one_has_begun(
        self, as_ana: httpx.AsyncClient, services: Services, ana: Person, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the first one has added counts as added, not as there already."""
        monkeypatch.setattr(service, "BATCH_CONVERSATIONS", 2)
        id = (await as_ana.post(PATH, content=lines(7) + b"{oops\n")).json()["id"]
        jobs, workers = services.imports.jobs, WorkerRepository(lease_seconds=600)

        async def attempt(worker: str) -> Run:
            await workers.register(worker)
            row = await services.imports.rows.claim(worker)
            assert row is not None
            return Run(row, services.imports.rows, jobs.files, services.database.transactions)

        first, storing = await attempt("first"), services.imports.service._storing
        add, calls = storing.add, 0

        async def dying(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise ConnectionError("died")
            return await add(*arguments)

        monkeypatch.setattr(storing, "add", dying)
        with pytest.raises(ConnectionError):
            await services.imports._work(first)
        monkeypatch.setattr(storing, "add", add)
        await assert_each_once(services, ana, 4)

        await workers.give_up("first")
        await jobs.upkeep.tidy([])
        second = await attempt("second")
        assert (second.row["attempt"], second.row["setbacks"]) == (2, 1)
        values = await services.imports._work(second)
        assert await jobs.endings.end(second.claim, "completed", values)

        row = (await as_ana.get(f"{PATH}/{id}")).json()
        assert [row[name] for name in ("state", "conversations", "messages", "present", "bad")] == [
            *("completed", 7, 14, 0, 1),
        ]
        assert len((await as_ana.get(f"{PATH}/{id}/errors")).text.splitlines()) == 1
        await assert_each_once(services, ana, 7)

    async def test_an_import_whose_command_has_died_fails_with_a_sentence(
        self, as_ana: httpx.AsyncClient, services: Services, ana: Person
    ) -> None:
        rows = services.imports.rows
        id = (await as_ana.post(PATH, content=lines(1))).json()["id"]
        await rows.collection.update_many({}, {"$set": {"origin": "command", "state": "running", "worker": "gone"}})
        await services.imports.jobs.upkeep.tidy([])
        services.imports.jobs._pool.open(services.imports._work, 1)

        row = (await as_ana.get(f"{PATH}/{id}", params={"wait": 30})).json()
        assert row["state"] == "failed"
        assert row["error"]["message"].startswith("The command that ran this import has ended before it was done; run")
        assert await rows.get(EVERYTHING, (await rows.ids_of_owner(ana.id))[0])


async def test_imports_of_a_user_go_with_the_user(
    as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person, services: Services
) -> None:
    row = await over(as_ana, await as_ana.post(PATH, content=lines(1) + b"{oops\n"))
    assert (await as_admin.delete(f"/api/users/{ana.id}", params={"conversations": "delete"})).status_code == 204
    assert (await as_admin.get(f"{PATH}/{row['id']}")).status_code == 404
    assert await services.imports.jobs.files._chunks.count_documents({}) == 0
