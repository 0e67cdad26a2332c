"""`verbatim replica-set`: members with authentication, a URI that is enough for the API, nothing left at the end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pymongo
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

from tests.processes import ServerProcess

pytestmark = [pytest.mark.mongod, pytest.mark.slow]


@asynccontextmanager
async def running(folder: Path, *options: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The process and the first line it prints."""
    command = [sys.executable, "-m", "app.cli", "replica-set", "--data", str(folder), "--print-uri", *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VERBATIM_")}
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=-1, stderr=-1)
    try:
        assert process.stdout is not None
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.communicate()


async def test_the_api_runs_on_it_with_least_privilege(tmp_path: Path) -> None:
    async with running(tmp_path / "set") as (process, uri):
        async with ServerProcess(tmp_path / "api", mongo_uri=uri) as server:
            async with server.client() as client:
                created = await client.post("/api/conversations", json={"title": "First"})
                assert created.status_code == 201
            assert await server.terminate() == 0
        assert await asyncio.to_thread(_audit_days, uri) == 365
        async with ServerProcess(tmp_path / "api", mongo_uri=uri, audit_days=7) as server:
            assert await server.terminate() == 0
        assert await asyncio.to_thread(_audit_days, uri) == 7
        with pytest.raises(OperationFailure, match="not authorized"):
            await asyncio.to_thread(_write_elsewhere, uri)
        members = psutil.Process(process.pid).children()
        assert len(members) == 3

        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
        assert not any(member.is_running() for member in members)


def _audit_days(uri: str) -> float:
    """For how long the audit log is kept, which a server that starts sees to."""
    with MongoClient[dict[str, object]](uri) as client:
        index = client["verbatim"].audit.index_information()["expiry_v1"]
        return float(index["expireAfterSeconds"]) / (24 * 3600)


def _write_elsewhere(uri: str) -> None:
    with MongoClient[dict[str, object]](uri) as client:
        client["other"].things.insert_one({})


async def test_it_comes_back_as_it_was_and_brings_killed_members_back(tmp_path: Path) -> None:
    async with running(tmp_path, "--members", "1") as (_, uri):
        await asyncio.to_thread(_write, uri)
    async with running(tmp_path, "--members", "1") as (process, again):
        assert again == uri
        (member,) = psutil.Process(process.pid).children()
        member.kill()
        assert process.stderr is not None
        assert b"is started again" in await process.stderr.readline()
        assert await asyncio.to_thread(_read, uri) == 1


def _write(uri: str) -> None:
    with MongoClient[dict[str, object]](uri, w="majority") as client, pymongo.timeout(20):
        client["verbatim"].things.insert_one({})


def _read(uri: str) -> int:
    with MongoClient[dict[str, object]](uri) as client, pymongo.timeout(20):
        return client["verbatim"].things.count_documents({})


async def test_a_second_one_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, "--members", "1"), running(tmp_path) as (second, line):
        _, errors = await second.communicate()
        assert (line, second.returncode) == ("", 1)
        assert b"runs already" in errors


async def test_with_tls_the_uri_is_enough_and_nothing_else_will_do(tmp_path: Path) -> None:
    async with running(tmp_path / "a set", "--members", "1", "--tls") as (_, uri):
        await asyncio.to_thread(_write, uri)
        assert await asyncio.to_thread(_read, uri) == 1
        plain = uri.partition("&tls=")[0] + "&serverSelectionTimeoutMS=1000"
        with pytest.raises(ServerSelectionTimeoutError):
            await asyncio.to_thread(_read, plain)
