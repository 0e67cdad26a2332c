"""What the tests of export jobs do over and over."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from app.config import Settings
from app.database import Database
from app.jobs.model import FileChunk
from app.kit.repository import Row
from app.services import Services, build_services

Json = dict[str, Any]
PATIENCE = 60


async def ask(client: httpx.AsyncClient, resource: str = "messages", **members: Any) -> Json:
    """A new export job, as it was answered."""
    response = await client.post("/api/exports", json={"resource": resource, **members})
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"/api/exports/{response.json()['id']}"
    return dict(response.json())


async def look(client: httpx.AsyncClient, job: Json) -> Json:
    """The job as it is now."""
    response = await client.get(f"/api/exports/{job['id']}")
    assert response.status_code == 200, response.text
    return dict(response.json())


async def ended(client: httpx.AsyncClient, job: Json) -> Json:
    """The job once it is over."""
    response = await client.get(f"/api/exports/{job['id']}", params={"wait": PATIENCE})
    assert response.status_code == 200, response.text
    assert response.json()["state"] not in {"queued", "running"}, response.text
    return dict(response.json())


async def done(client: httpx.AsyncClient, resource: str = "messages", **members: Any) -> Json:
    """A job that was asked for and has completed."""
    job = await ended(client, await ask(client, resource, **members))
    assert job["state"] == "completed", job
    return job


async def file_of(client: httpx.AsyncClient, job: Json, **headers: str) -> httpx.Response:
    return await client.get(f"/api/exports/{job['id']}/file", headers=headers)


async def chunks() -> int:
    """How many pieces of files are stored."""
    return await FileChunk.get_pymongo_collection().count_documents({})


class Source:
    """The repository of a table, of which a test holds what comes behind the first batches."""

    def __init__(self, real: Any, *, free: int) -> None:
        """`free`: so many batches come at once."""
        self._real = real
        self._free = free
        self.is_held = asyncio.Event()
        self.go_on = asyncio.Event()
        self.error: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def batches(self, *args: Any, **kwargs: Any) -> AsyncGenerator[list[Row], None]:
        async for number, rows in _numbered(self._real.batches(*args, **kwargs)):
            if number == self._free:
                self.is_held.set()
                await self.go_on.wait()
                if self.error is not None:
                    raise self.error
            yield rows


async def _numbered(batches: AsyncGenerator[list[Row], None]) -> AsyncIterator[tuple[int, list[Row]]]:
    number = 0
    async for rows in batches:
        yield number, rows
        number += 1


@asynccontextmanager
async def process(
    settings: Settings, database: Database, source: Source | None = None, *, is_deaf: bool = False
) -> AsyncIterator[Services]:
    """Another process that runs jobs, and reads messages from `source`; unless it `is_deaf` it hears of changes."""
    built = build_services(settings.model_copy(update={"export_workers": 1}), database)
    if not is_deaf:
        built.changes.open()
        await built.changes.opened()
    sources = dict(built.sources)
    if source is not None:
        sources["messages"] = source  # type: ignore[assignment]
    built.exports.open(sources, slice_rows=settings.export_slice_rows)
    try:
        yield built
    finally:
        await built.aclose()
