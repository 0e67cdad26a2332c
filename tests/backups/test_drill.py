"""The drill: a backup beside clients that append, everything destroyed, restored on a new replica set."""

import asyncio
import hashlib
import io
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from bson import ObjectId
from bson.timestamp import Timestamp
from pymongo import AsyncMongoClient

from app.backups.fates import CHANGED, LEFT_OUT
from app.backups.reading import BackupReader, Trailer
from app.backups.source import Source
from app.database import CLIENT_OPTIONS
from app.mongod import find_mongod
from app.mongod.local_set import LocalReplicaSet
from tests.backups.conftest import Database, rows_of
from tests.cli.command import Verbatim, Worker
from tests.processes import ServerProcess

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

EXPORTS = ("users.csv", "conversations.csv", "messages.csv", "messages.jsonl", "turns.jsonl")
CLIENTS = 4
NOT_COMPARED = {*LEFT_OUT, *CHANGED, "deployment", "audit"}


@dataclass
class Author:
    """A client that appends with keys; `acknowledged`: what it was told is stored, by key."""

    name: str
    conversation: str = ""
    acknowledged: dict[str, dict[str, Any]] = field(default_factory=dict)
    busy: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, client: httpx.AsyncClient, stop: asyncio.Event) -> None:
        created = await client.post("/api/conversations", json={"title": self.name})
        self.conversation = created.headers["location"]
        while not stop.is_set():
            await self.append(client, f"{self.name}-{len(self.acknowledged)}")

    async def append(self, client: httpx.AsyncClient, key: str) -> None:
        answer = await self.ask(client, key)
        assert answer.status_code == 201, answer.text
        self.acknowledged[key] = answer.json()
        if len(self.acknowledged) == 20:
            self.busy.set()

    async def ask(self, client: httpx.AsyncClient, key: str) -> httpx.Response:
        body = {"role": "user", "content": f"{key} says something. 中文"}
        return await client.post(f"{self.conversation}/messages", json=body, headers={"Idempotency-Key": key})


@asynccontextmanager
async def appending(server: ServerProcess, authors: list[Author]) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with server.client() as client, asyncio.TaskGroup() as tasks:
        for author in authors:
            tasks.create_task(author.write(client, stop))
        yield
        stop.set()


async def commanding(worker: Worker, uri: str, folder: Path, *arguments: str) -> str:
    """Run a command while others go on."""
    verbatim = Verbatim(worker, uri, "verbatim", folder)
    return (await asyncio.to_thread(verbatim, *arguments)).stdout


async def exported(worker: Worker, uri: str, folder: Path) -> dict[str, str]:
    """The SHA-256 of each export."""
    for name in EXPORTS:
        await commanding(worker, uri, folder, "export", name.partition(".")[0], "-o", name, "--force")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in EXPORTS}


async def at_the_instant(database: Database, instant: Timestamp) -> dict[str, str]:
    """The hash of each collection as it was then, which MongoDB still knows."""
    source = Source(database.client, database.name, has_snapshots=True)
    found = {}
    for each in await source.collections():
        digest, last = hashlib.sha256(), None
        while page := await source.page(each["name"], last, instant):
            digest.update(b"".join(row.raw for row in page))
            last = page[-1]
        found[each["name"]] = digest.hexdigest()
    return {name: digest for name, digest in found.items() if name not in NOT_COMPARED}


async def now_in(database: Database) -> dict[str, str]:
    found = {}
    for name in await database.list_collection_names():
        found[name] = hashlib.sha256(b"".join([row.raw async for row in rows_of(database, name)])).hexdigest()
    return {name: digest for name, digest in found.items() if name not in NOT_COMPARED}


def instant_of(file: Path) -> Timestamp:
    (trailer,) = [part for part in BackupReader(io.BytesIO(file.read_bytes())) if isinstance(part, Trailer)]
    assert trailer.instant is not None
    return trailer.instant


async def gaps(database: Database) -> list[ObjectId]:
    """Conversations whose messages are not numbered from 1 to the last one."""
    found = []
    async for row in database["conversations"].find():
        numbers = [each["seq"] async for each in database["messages"].find({"conversation_id": row["_id"]}).sort("seq")]
        if numbers != list(range(1, row["last_seq"] + 1)):
            found.append(row["_id"])
    return found


@pytest.mark.timeout(240)
async def test_backup_destroy_restore(tmp_path: Path) -> None:
    worker = Worker()
    mongod = await asyncio.to_thread(find_mongod, None)
    authors = [Author(f"author {number}") for number in range(CLIENTS)]
    busy, quiet = tmp_path / "busy.vbk", tmp_path / "quiet.vbk"
    try:
        async with LocalReplicaSet(tmp_path / "first", mongod, 1) as first, opened(first.uri) as database:
            async with ServerProcess(tmp_path / "api", mongo_uri=first.uri) as server:
                async with appending(server, authors):
                    await asyncio.gather(*(author.busy.wait() for author in authors))
                    before = [dict(author.acknowledged) for author in authors]
                    await commanding(worker, first.uri, tmp_path, "backup", str(busy))
                    written_meanwhile = sum(len(author.acknowledged) for author in authors) - sum(map(len, before))
                async with server.client() as client:
                    turn = await client.post(f"{authors[0].conversation}/turns", json={"content": "Hello"})
                    assert turn.status_code == 201
                then = await at_the_instant(database, instant_of(busy))
                assert await server.terminate() == 0
            exports = await exported(worker, first.uri, tmp_path)
            await commanding(worker, first.uri, tmp_path, "backup", str(quiet))
        shutil.rmtree(tmp_path / "first")

        async with LocalReplicaSet(tmp_path / "second", mongod, 1) as second, opened(second.uri) as database:
            await commanding(worker, second.uri, tmp_path, "restore", str(busy))
            assert written_meanwhile > 0
            assert await now_in(database) == then
            assert await gaps(database) == []
            async with ServerProcess(tmp_path / "api", mongo_uri=second.uri) as server:
                async with server.client() as client:
                    for author, acknowledged in zip(authors, before, strict=True):
                        for key, message in list(acknowledged.items())[-3:]:
                            again = await author.ask(client, key)
                            assert (again.status_code, again.json()) == (201, message)
                assert await server.terminate() == 0

            await commanding(worker, second.uri, tmp_path, "restore", str(quiet), "--drop")
            assert await exported(worker, second.uri, tmp_path) == exports
            assert await gaps(database) == []
    finally:
        worker.close()


@asynccontextmanager
async def opened(uri: str) -> AsyncIterator[Database]:
    async with AsyncMongoClient[dict[str, Any]](uri, **CLIENT_OPTIONS) as client:
        yield client["verbatim"]
