"""Answers go on while the database's primary is killed or hung, and a server that was hung itself harms nobody."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bson import ObjectId

from app.mongod import find_mongod
from tests.faults.audit import Stored, differences
from tests.faults.authors import look_again
from tests.faults.fleet import Fleet
from tests.faults.nursery import Nursery
from tests.faults.replica_set import ELECTION_TIMEOUT, Member, ReplicaSet
from tests.faults.scenes import Scene, scene, writing
from tests.faults.stories import asked
from tests.faults.telling import SETTINGS, Telling
from tests.processes import ServerProcess
from tests.upstream import Upstream
from tests.webhooks.receiver import Receiver

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.timeout(600)]

KILLS = 5
LONGEST_STALL = 8.0
"""Seconds without a word: an election takes 2 to 4 of them, noticing that a primary hangs about as long again."""
HUNG_SECONDS = 5.0
TURNS = 6
SHOWN_SECONDS = 0.5
"""Long enough to show what is there; a primary that is alone steps down after the election timeout."""


@pytest.fixture(scope="module")
async def lasting_replica_set(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReplicaSet]:
    mongod = await asyncio.to_thread(find_mongod, None)
    async with ReplicaSet(tmp_path_factory.mktemp("replica set"), mongod) as members:
        yield members


@pytest.fixture
async def replica_set(lasting_replica_set: ReplicaSet) -> ReplicaSet:
    """The replica set of this module, recovered from the test before."""
    await lasting_replica_set.healthy()
    return lasting_replica_set


async def _examine(here: Scene, upstream: Upstream) -> None:
    """Nothing failed, nothing differs, every turn was completed and nobody had to come back."""
    rng = random.Random(here.seed)
    await look_again(here.ledger, lambda: here.fleet.pick(rng), rng)
    assert here.ledger.faults == []
    assert differences(await here.stored(), here.ledger.views, asked(upstream)) == []
    assert {view.end for view in here.ledger.views} == {"turn.completed"}
    assert {view.connections for view in here.ledger.views} == {1}


async def test_answers_survive_the_death_of_the_primary(
    tmp_path: Path, nursery: Nursery, replica_set: ReplicaSet, upstream: Upstream
) -> None:
    async with scene(nursery, tmp_path, replica_set, upstream, pause=0.05) as here:
        async with writing(here):
            for _ in range(KILLS):
                await here.ledger.wait_until_busy()
                killed = await replica_set.kill_primary()
                await replica_set.primary()
                await replica_set.restart(killed)
                await replica_set.healthy()
        longest = here.report(f"{KILLS} primaries killed")
        await _examine(here, upstream)

    assert here.fleet.tracebacks == []
    assert longest < LONGEST_STALL


async def test_webhooks_survive_the_death_of_the_primary(
    tmp_path: Path, nursery: Nursery, replica_set: ReplicaSet
) -> None:
    settings = {"mongo_uri": replica_set.admin_uri, "database": f"verbatim_{ObjectId()}", **SETTINGS}
    async with Receiver() as receiver, Fleet(nursery, tmp_path, 1, **settings) as fleet:
        telling = Telling(fleet, receiver)
        await telling.begin()
        killed, _ = await asyncio.gather(replica_set.kill_primary(), telling.append(20))
        await telling.append(20)
        await replica_set.restart(killed)
        await telling.check(40)

    assert fleet.tracebacks == []


async def test_answers_survive_a_primary_that_hangs(
    tmp_path: Path, nursery: Nursery, replica_set: ReplicaSet, upstream: Upstream
) -> None:
    async with scene(nursery, tmp_path, replica_set, upstream, pause=0.05) as here:
        async with writing(here):
            await here.ledger.wait_until_busy()
            hung = await replica_set.primary()
            replica_set.stop(hung)
            await asyncio.sleep(HUNG_SECONDS)  # the fault itself
            replica_set.cont(hung)
            await replica_set.healthy()
        longest = here.report(f"primary hung for {HUNG_SECONDS:g} s")
        await _examine(here, upstream)

    assert here.fleet.tracebacks == []
    assert longest < LONGEST_STALL


async def test_a_server_that_sleeps_through_its_lease_writes_nothing_when_it_wakes_up(
    tmp_path: Path, nursery: Nursery, replica_set: ReplicaSet, upstream: Upstream
) -> None:
    async with scene(nursery, tmp_path, replica_set, upstream, pause=0.15, turn_lease=1) as here:
        sleeper = here.first
        async with asyncio.TaskGroup() as asking:
            views = await here.begin(TURNS, sleeper, asking)
            async with asyncio.TaskGroup() as watching:
                for view in views:
                    await view.reach(3)
                    watching.create_task(here.watch(view, here.second))
                sleeper.server.signal(signal.SIGSTOP)
            before = await here.stored()  # every turn is over, and the model still talks to the one that sleeps
            sleeper.server.signal(signal.SIGCONT)
        awake = here.author("awake", sleeper)
        await awake.open()
        fresh = await awake.ask("And now?")
        assert await sleeper.server.terminate() == 0
        after = await here.stored()

    assert here.ledger.faults == []
    assert fresh.end == "turn.completed"
    assert {view.end for view in here.ledger.views if view.question != fresh.question} == {"turn.interrupted"}
    assert _changes(before, after) == []
    assert differences(after, here.ledger.views, asked(upstream)) == []
    assert here.fleet.tracebacks == []


def _changes(before: Stored, after: Stored) -> list[str]:
    """What became of rows since then, and what was added to the logs of their turns."""
    return [
        *(f"{id} became {after.turns[id]}" for id, row in before.turns.items() if after.turns[id] != row),
        *(f"{id} became {after.messages[id]}" for id, row in before.messages.items() if after.messages[id] != row),
        *(f"{id} was logged" for id in after.log.keys() - before.log.keys() if id[0] in before.turns),
    ]


async def test_what_only_a_dying_primary_has_is_shown_to_nobody(
    tmp_path: Path, nursery: Nursery, replica_set: ReplicaSet, upstream: Upstream
) -> None:
    async with scene(nursery, tmp_path, replica_set, upstream, pause=0.05, turn_lease=1) as here:
        primary, others = await replica_set.primary(), await replica_set.secondaries()
        async with asyncio.TaskGroup() as following:
            for view in await here.begin(TURNS, here.first, following):
                await view.reach(3)
            for member in others:
                await member.kill()
            await _a_word_that_waits(here, primary)
            await here.fleet.kill(here.first, is_replaced=False)  # who said them will never say them again
            for view in list(here.ledger.views):
                following.create_task(here.watch(view, here.second))
            alone = (await here.stored(primary)).log
            await asyncio.sleep(SHOWN_SECONDS)
            await primary.kill()
            for member in others:
                await replica_set.restart(member)
            await replica_set.primary()  # one without those words
            await replica_set.restart(primary)
        await replica_set.healthy()
        after = await here.stored()

    assert not alone.items() <= after.log.items(), "the fault came to nothing: a majority had every word"
    assert here.ledger.faults == []
    assert {view.end for view in here.ledger.views} == {"turn.interrupted"}
    assert differences(after, here.ledger.views, asked(upstream)) == []
    assert here.fleet.tracebacks == []


async def _a_word_that_waits(here: Scene, primary: Member) -> None:
    """Return when the primary has a word that nobody is shown, because no majority has it."""
    unseen: set[tuple[ObjectId, int]] = set()
    async with asyncio.timeout(ELECTION_TIMEOUT / 1000):
        while True:
            stored = await here.stored(primary)
            shown = {(ObjectId(view.turn_id), event.id) for view in here.ledger.views for event in view.events}
            waiting = stored.log.keys() - shown
            if waiting & unseen:
                return
            unseen = waiting
            await asyncio.sleep(0.1)  # what is on its way to its client will be there


@pytest.mark.parametrize("seconds", [0.1, 0.3])
async def test_a_server_that_starts_while_the_primary_dies_waits_for_the_next_one(
    tmp_path: Path, replica_set: ReplicaSet, seconds: float
) -> None:
    async def strike() -> None:
        await asyncio.sleep(1.2 + seconds)  # about when it makes its indexes
        await replica_set.restart(await replica_set.kill_primary())

    async with asyncio.TaskGroup() as meanwhile:
        meanwhile.create_task(strike())
        database = f"starting_{int(seconds * 10)}"
        async with ServerProcess(tmp_path, mongo_uri=replica_set.admin_uri, database=database) as server:
            async with server.client() as client:
                assert (await client.get("/health/ready")).status_code == 200
            assert await server.terminate() == 0
