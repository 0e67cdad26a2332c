"""MongoDB is away for longer than an election: requests are refused at once, nothing piles up, and all goes on by
itself when it is back.

VERBATIM_TEST_OUTAGE_SECONDS=60 makes the outages longer, with the setting that is the default.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from app.mongod import find_mongod
from app.mongod.local_set import LocalReplicaSet
from tests.faults.outage import Outage, statuses
from tests.processes import ServerProcess

PER_SECOND = 10
LONG = os.environ.get("VERBATIM_TEST_OUTAGE_SECONDS", "")
FAILOVER_SECONDS = 15.0 if LONG else 1.0
NOTICED = {"killed": 1.0, "hung": 4.5}
"""Seconds until the driver knows: at once when connections break, by its heartbeats when nothing is said any more."""
REFUSED_IN = 2.0
"""At most, on a machine that does much else; usually it takes milliseconds."""
RECOVERED_IN = 5.0

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.timeout(120 + float(LONG or 0))]


@pytest.fixture(scope="module")
async def members(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalReplicaSet]:
    """One member alone: when it is away nobody takes its place."""
    mongod = await asyncio.to_thread(find_mongod, None)
    async with LocalReplicaSet(tmp_path_factory.mktemp("one member"), mongod, 1) as one:
        yield one


async def _kill(members: LocalReplicaSet) -> None:
    await members.members[0].kill()


async def _start(members: LocalReplicaSet) -> None:
    await members.members[0].forget()
    await members.members[0].start()


async def _hang(members: LocalReplicaSet) -> None:
    members.members[0].process.send_signal(signal.SIGSTOP)


async def _go_on(members: LocalReplicaSet) -> None:
    members.members[0].process.send_signal(signal.SIGCONT)


Act = Callable[[LocalReplicaSet], Awaitable[None]]

FAULTS: dict[str, tuple[Act, Act]] = {
    "killed": (_kill, _start),
    "hung": (_hang, _go_on),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_outage_is_refused_fast_and_ends_by_itself(
    tmp_path: Path, members: LocalReplicaSet, fault: str
) -> None:
    begin, end = FAULTS[fault]
    await members.primary()
    settings = {"mongo_uri": members.uri, "failover_seconds": FAILOVER_SECONDS}
    async with ServerProcess(tmp_path, **settings) as server:
        async with Outage(server, per_second=PER_SECOND) as outage:
            await asyncio.sleep(1)
            before = outage.footprint()
            lost_at = time.monotonic()
            await begin(members)
            refusing_since = lost_at + NOTICED[fault] + FAILOVER_SECONDS
            await asyncio.sleep(refusing_since - time.monotonic() + 1)
            await _is_unready_but_alive(server)
            early = outage.footprint()
            await asyncio.sleep(float(LONG or 2))
            late, unanswered = outage.footprint(), outage.unanswered
            await end(members)
            back_at = time.monotonic()
            await members.primary()
            writable_at = time.monotonic()
            recovered = await outage.recovered(writable_at, timeout=30)
            await asyncio.sleep(1)
        async with server.client() as client:
            assert (await client.get("/health/ready")).status_code == 200
        assert await server.terminate() == 0
        assert "Traceback" not in server.log, server.log
    refused = outage.sent(refusing_since, back_at)
    healthy = outage.sent(0, lost_at - 0.5) + outage.sent(writable_at + recovered, time.monotonic())

    times = sorted(each.seconds for each in refused)
    print(f"{fault}: {len(refused)} refused, p50 {times[len(times) // 2]:.4f} s, longest {times[-1]:.3f} s; ", end="")
    print(f"{before} {early} {late}; {unanswered} unanswered; ", end="")
    print(f"served {recovered:.2f} s after there was a primary, {writable_at - back_at:.1f} s after the fault")
    assert {(status, code) for status, code in statuses(refused)} == {(503, "unavailable")}
    assert {each.retry_after for each in refused} == {"2"}
    assert times[-1] < REFUSED_IN
    assert len(refused) > PER_SECOND
    assert late.descriptors <= early.descriptors + 5  # most are connections of clients that keep them
    assert unanswered <= PER_SECOND * NOTICED[fault] + PER_SECOND  # who was already with the driver
    assert late.threads <= before.threads + 2
    assert late.megabytes < early.megabytes + 10
    assert recovered < RECOVERED_IN
    assert {each.status for each in healthy} <= {200, 201}


async def _is_unready_but_alive(server: ServerProcess) -> None:
    async with server.client() as client:
        started = time.monotonic()
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.headers["retry-after"]) == (503, "2")
        assert (await client.get("/health/live")).status_code == 200
        assert time.monotonic() - started < REFUSED_IN
