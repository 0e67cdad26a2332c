"""Servers are killed in the middle of answers, again and again: no word is lost, no turn is doubled or stuck."""

import asyncio
import random
import secrets
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from app.database import CLIENT_OPTIONS
from tests.faults.audit import Stored, differences
from tests.faults.authors import Author, look_again
from tests.faults.fleet import Fleet
from tests.faults.followers import Ledger
from tests.faults.nursery import Nursery
from tests.faults.stories import asked, tell
from tests.upstream import Upstream

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

KILLS = 100
CLIENTS = 20
SERVERS = 4
SERVING = 3
"""That many must serve when one is killed: the others are being started, which takes longer than anything else."""
LEASE = 1.0
WORD_SECONDS = 0.05
LONGEST_WAIT = 2.0
LONGEST_END = 60.0
"""Seconds from a kill to the end of its turns: the lease and the open transaction of a killed writer take up to 10; the
rest is for a machine that does other things too. It says that nothing is stuck, not how fast it is."""


async def _kill_at_random(fleet: Fleet, ledger: Ledger, rng: random.Random) -> None:
    for _ in range(KILLS):
        await fleet.has(SERVING)
        await ledger.wait_until_busy()
        await asyncio.sleep(rng.uniform(0, LONGEST_WAIT))  # any moment of a turn will do
        await fleet.kill(await fleet.pick(rng))


def _report(fleet: Fleet, ledger: Ledger) -> list[float]:
    """Print the figures of a run; answers the seconds from each kill to each end that it caused."""
    views = [view for view in ledger.views if view.call.method == "POST"]
    ends = [view.end for view in views]
    waits = [
        view.ended_at - view.begun_on.killed_at
        for view in views
        if view.end == "turn.interrupted" and view.begun_on is not None and view.begun_on.killed_at is not None
    ]
    print(
        f"\n{fleet.kills} kills; {len(views)} turns: {ends.count('turn.completed')} completed,"
        f" {ends.count('turn.interrupted')} interrupted; {len(ledger.views) - len(views)} more views;"
        f" {sum(view.connections - 1 for view in ledger.views)} reconnections;"
        f" kill to end: median {sorted(waits)[len(waits) // 2]:.1f} s, at most {max(waits):.1f} s"
    )
    return waits


def _unexplained(ledger: Ledger) -> list[str]:
    """Ends other than completion of turns whose server was never killed."""
    return [
        f"{view.call.path} of {view.question!r}: {view.end} ({view.events[-1].data['error']})"
        for view in ledger.views
        if view.end != "turn.completed"
        and (view.end != "turn.interrupted" or (view.begun_on is not None and view.begun_on.killed_at is None))
    ]


@pytest.mark.timeout(600)
async def test_no_word_is_lost_and_no_turn_doubled_or_stuck_when_servers_are_killed(
    tmp_path: Path, nursery: Nursery, shared: dict[str, Any], upstream: Upstream
) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    upstream.script["story"] = tell(pause=WORD_SECONDS)
    ledger, rng, stop = Ledger(busy=CLIENTS // 2), random.Random(seed), asyncio.Event()
    async with Fleet(
        nursery, tmp_path, SERVERS, turn_lease=LEASE, history_max_messages=1, log_level="warning", **shared
    ) as fleet:
        authors = [
            Author(f"author {number}", ledger, lambda: fleet.pick(rng), random.Random(f"{seed} {number}"))
            for number in range(CLIENTS)
        ]
        async with asyncio.TaskGroup() as tasks:
            for author in authors:
                tasks.create_task(author.write(stop))
            await _kill_at_random(fleet, ledger, rng)
            stop.set()
        waits = _report(fleet, ledger)
        await fleet.has(SERVERS)
        await look_again(ledger, lambda: fleet.pick(rng), rng)
        async with AsyncMongoClient[dict[str, Any]](shared["mongo_uri"], **CLIENT_OPTIONS) as client:
            stored = await Stored.read(client[shared["database"]])

    assert ledger.faults == []
    assert differences(stored, ledger.views, asked(upstream)) == []
    assert _unexplained(ledger) == []
    assert fleet.tracebacks == []
    assert max(waits) < LONGEST_END
