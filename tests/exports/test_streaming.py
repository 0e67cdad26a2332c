"""Exports over real connections: sent as they are read, broken off when they fail, and over when nobody listens."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from anyio.to_thread import current_default_thread_limiter
from blockbuster import BlockBuster
from structlog.testing import capture_logs

from app.api import exporting
from app.exports.service import Export, export_rows
from app.services import Services
from tests.api.calls import new_conversation, say
from tests.conftest import Person
from tests.exports.files import column, export, fill, read_csv, read_jsonl, read_xlsx

pytestmark = pytest.mark.mongod

GIVES_UP = {"q": "^(a|a?)+b$", "match": "regex", "sort": "created_at"}
"""A search at which the database gives up (PCRE's match limit) when it meets the last of `HARMLESS_THEN_NOT`."""
HARMLESS_THEN_NOT = [*["aab"] * 1500, "a" * 60 + "bc"]
KIBIBYTES_20 = "Word for word, 一字不差. " * 600
MORE_THAN_SOCKETS_HOLD = 1500


@dataclass
class Watched:
    """What became of the chunks of an export."""

    started: asyncio.Event
    closed: asyncio.Event
    chunks: int = 0


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Watches the exports of the API from outside; nothing about them changes."""
    watched = Watched(asyncio.Event(), asyncio.Event())

    async def watch(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        watched.started.set()
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    watched.chunks += 1
                    yield chunk
        finally:
            watched.closed.set()

    def make(*args: Any, **options: Any) -> Export:
        made = export_rows(*args, **options)
        return replace(made, chunks=watch(made.chunks))

    monkeypatch.setattr(exporting, "export_rows", make)
    return watched


@pytest.fixture
async def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """No temporary file, open file or borrowed thread is left behind."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    process, threads = psutil.Process(), current_default_thread_limiter().borrowed_tokens
    yield
    assert list(folder.iterdir()) == []
    assert [file for file in process.open_files() if str(folder) in file.path] == []
    assert current_default_thread_limiter().borrowed_tokens == threads


@pytest.fixture
async def live_analyst(live_url: str, analyst: Person) -> AsyncIterator[httpx.AsyncClient]:
    """Sees everybody's rows, so the database has one plan only and reads in the order of the export."""
    async with httpx.AsyncClient(base_url=live_url, headers=analyst.headers, timeout=30) as client:
        yield client


async def collect(chunks: AsyncIterator[bytes], received: bytearray) -> None:
    async for chunk in chunks:
        received += chunk


@pytest.mark.slow
@pytest.mark.parametrize("format", ["csv", "jsonl"])
async def test_the_first_rows_are_sent_before_the_last_ones_are_read(
    services: Services, live_ana: httpx.AsyncClient, ana: Person, format: str
) -> None:
    """A slow reader holds the export back: a row that is stored only after its first bytes is in it."""
    await fill(services, ana.id, [KIBIBYTES_20] * MORE_THAN_SOCKETS_HOLD)
    parameters = {"format": format, "sort": "created_at", "columns": "id,content"}
    async with live_ana.stream("GET", "/api/messages/export", params=parameters) as response:
        chunks = response.aiter_raw()
        received = bytearray(await anext(chunks))
        late = await say(live_ana, await new_conversation(live_ana), "stored while the export was under way")
        await collect(chunks, received)

    rows = read_csv(received)[1:] if format == "csv" else [list(row.values()) for row in read_jsonl(received)]
    assert len(rows) == MORE_THAN_SOCKETS_HOLD + 1
    assert rows[-1] == [late["id"], late["content"]]


@pytest.mark.parametrize("format", ["csv", "jsonl"])
async def test_an_export_that_fails_in_the_middle_breaks_the_connection(
    services: Services, live_analyst: httpx.AsyncClient, ana: Person, format: str, nothing_left: None
) -> None:
    await fill(services, ana.id, HARMLESS_THEN_NOT)
    received, parameters = bytearray(), {**GIVES_UP, "format": format}
    with capture_logs() as logs:
        async with live_analyst.stream("GET", "/api/messages/export", params=parameters) as response:
            assert response.status_code == 200
            with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
                await collect(response.aiter_raw(), received)

    assert received.count(b"2026-01-31T12:00:0") == len(HARMLESS_THEN_NOT) - 1
    assert [log["path"] for log in logs if log["event"] == "unhandled_error"] == ["/api/messages/export"]


@pytest.mark.parametrize("format", ["xlsx", "parquet"])
async def test_a_file_that_fails_before_it_is_whole_is_an_error_with_its_status(
    services: Services, live_analyst: httpx.AsyncClient, ana: Person, nothing_left: None, format: str
) -> None:
    await fill(services, ana.id, HARMLESS_THEN_NOT)
    response = await live_analyst.get("/api/messages/export", params={**GIVES_UP, "format": format})

    assert response.status_code == 422
    assert response.json()["code"] == "query_too_expensive"


@pytest.mark.parametrize("format", ["csv", "jsonl", "xlsx", "parquet"])
async def test_a_reader_that_leaves_ends_the_export(
    services: Services, live_ana: httpx.AsyncClient, ana: Person, watched: Watched, nothing_left: None, format: str
) -> None:
    await fill(services, ana.id, [KIBIBYTES_20] * MORE_THAN_SOCKETS_HOLD)
    async with live_ana.stream("GET", "/api/messages/export", params={"format": format}) as response:
        assert await anext(response.aiter_raw())
        assert format in ("xlsx", "parquet") or not watched.closed.is_set()

    async with asyncio.timeout(10):
        await watched.closed.wait()


async def test_a_reader_that_leaves_before_the_workbook_is_ready_ends_the_export(
    services: Services, live_ana: httpx.AsyncClient, ana: Person, watched: Watched, nothing_left: None
) -> None:
    await fill(services, ana.id, (f"{number} {KIBIBYTES_20}" for number in range(MORE_THAN_SOCKETS_HOLD)))
    request = asyncio.create_task(live_ana.get("/api/messages/export", params={"format": "xlsx"}))
    await watched.started.wait()
    request.cancel()
    await asyncio.wait([request])

    async with asyncio.timeout(10):
        await watched.closed.wait()
    assert watched.chunks == 0


@pytest.mark.slow
async def test_others_are_served_while_a_large_workbook_is_written(
    services: Services, live_ana: httpx.AsyncClient, ana: Person, blocking_is_an_error: BlockBuster
) -> None:
    await fill(services, ana.id, (f"{number} {KIBIBYTES_20[:250]}" for number in range(20_000)))
    workbook = asyncio.create_task(export(live_ana, "messages", format="xlsx", columns="seq,content"))
    served = 0
    while not workbook.done():
        assert (await live_ana.get("/health/live")).status_code == 200
        served += 1

    assert len(read_xlsx((await workbook).content)) == 20_001
    assert served > 20


@pytest.mark.parametrize("format", ["csv", "jsonl", "xlsx", "parquet"])
async def test_no_format_blocks_the_event_loop(
    services: Services, as_ana: httpx.AsyncClient, ana: Person, blocking_is_an_error: BlockBuster, format: str
) -> None:
    await fill(services, ana.id, [KIBIBYTES_20] * 10)
    for resource in ("users", "conversations", "messages"):
        assert (await export(as_ana, resource, format=format)).content


@pytest.mark.slow
@pytest.mark.parametrize("sort", ["created_at", "-created_at"])
async def test_every_row_comes_once_while_others_write(
    services: Services, live_ana: httpx.AsyncClient, ana: Person, sort: str
) -> None:
    rows = await fill(services, ana.id, (f"{number} {KIBIBYTES_20[:2000]}" for number in range(5000)))
    conversation = await new_conversation(live_ana)
    done = asyncio.Event()

    async def write() -> None:
        while not done.is_set():
            await say(live_ana, conversation, "meanwhile")

    writers = [asyncio.create_task(write()) for _ in range(4)]
    received = bytearray()
    async with live_ana.stream("GET", "/api/messages/export", params={"sort": sort, "columns": "id"}) as response:
        await collect(response.aiter_raw(), received)
    done.set()
    await asyncio.gather(*writers)

    ids = column(read_csv(received), "Id")
    assert len(ids) == len(set(ids))
    assert set(ids) >= {str(row["_id"]) for row in rows}


async def test_a_head_request_tells_of_the_file_without_making_it(
    services: Services, live_ana: httpx.AsyncClient, ana: Person, watched: Watched, nothing_left: None
) -> None:
    await fill(services, ana.id, [KIBIBYTES_20] * MORE_THAN_SOCKETS_HOLD)
    response = await live_ana.head("/api/messages/export")

    assert response.status_code == 200
    assert response.content == b""
    assert response.headers["content-type"].startswith("text/csv")
    assert "messages-" in response.headers["content-disposition"]
    await asyncio.wait_for(watched.closed.wait(), 10)
    assert watched.chunks <= 1
    assert (await live_ana.head("/api/messages/export", params={"format": "no"})).status_code == 422
    assert (await live_ana.head("/api/users/me")).headers["etag"]
