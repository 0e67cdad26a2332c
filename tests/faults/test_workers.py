"""`verbatim serve --workers`: one server to its clients, whichever process answers and whichever dies."""

import asyncio
import signal
from collections.abc import Iterable
from pathlib import Path

import httpx
import psutil
import pytest

from tests.api.test_metrics import value
from tests.mongod.processes import end, find_mongod_process, until, was_clean
from tests.processes import ADMIN_KEY, ServerProcess

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.timeout(240)]

WORKERS = 2


def _workers(server: ServerProcess) -> list[psutil.Process]:
    children = psutil.Process(server.pid).children()
    return [each for each in children if "app.cli.worker" in each.cmdline()]


async def _metrics(server: ServerProcess) -> str:
    async with server.client() as client:
        return (await client.get("/metrics")).text


async def _all_serve(server: ServerProcess, starts: int) -> str:
    """The metrics, once so many workers were started."""
    async with asyncio.timeout(60):
        while value(text := await _metrics(server), "verbatim_starts_total") < starts:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return text


async def _ask(server: ServerProcess, times: int) -> None:
    """Each over a connection of its own; who meets a worker that dies comes again, as clients do."""
    async with server.client(limits=httpx.Limits(max_keepalive_connections=0)) as client:
        for _ in range(times):
            try:
                answer = await client.get("/api/users/me")
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                answer = await client.get("/api/users/me")
            assert answer.status_code == 200


def _answered(text: str) -> float:
    return value(text, "verbatim_http_requests_total", route="/api/users/me", status="200")


async def _are_gone(processes: Iterable[psutil.Process]) -> None:
    for each in processes:
        await end(each)


async def test_workers_are_one_server_and_the_dead_come_back(data: Path) -> None:
    async with ServerProcess(data, "--workers", str(WORKERS)) as server:
        before = await _all_serve(server, WORKERS)
        await _ask(server, 12)
        first, second = await _metrics(server), await _metrics(server)
        victim, other = _workers(server)
        victim.kill()
        await _ask(server, 12)
        after = await _all_serve(server, WORKERS + 1)
        workers = _workers(server)
        mongod = find_mongod_process(data)
        server.signal(signal.SIGINT)
        status = await server.ended()
        gone = [victim, *workers]
        await until(lambda: not any(each.is_running() for each in gone))
        has_mongod = mongod.is_running() and mongod.status() != psutil.STATUS_ZOMBIE
        assert "Traceback" not in server.log, server.log
        assert "worker_died" in server.log

    assert _answered(first) == _answered(second) == _answered(before) + 12
    assert _answered(after) >= _answered(first) + 12
    assert value(after, "verbatim_mongo_primary") == 1
    assert value(after, "verbatim_http_requests_running") == 1
    shown = [line for line in after.splitlines() if line.startswith("process_resident_memory_bytes{")]
    assert len(shown) == WORKERS
    assert other in workers
    assert victim not in workers
    assert (status, has_mongod) == (0, False)
    assert was_clean(data)
    assert ADMIN_KEY not in server.welcome


async def test_workers_end_with_a_supervisor_that_is_killed(data: Path) -> None:
    async with ServerProcess(data, "--workers", str(WORKERS)) as server:
        await _all_serve(server, WORKERS)
        workers, mongod = _workers(server), find_mongod_process(data)
        server.kill()
        await server.ended()
        await _are_gone([*workers, mongod])

    assert len(workers) == WORKERS
