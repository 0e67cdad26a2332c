"""Servers are killed in the middle of telling webhooks: each event is delivered all the same, under one id."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.calls import new_conversation, say
from tests.faults.fleet import Fleet
from tests.faults.nursery import Nursery
from tests.faults.telling import SETTINGS, Telling
from tests.webhooks.conftest import log_of, subscribe, until
from tests.webhooks.receiver import Receiver

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

KILLS = 3
APPENDED_BETWEEN_KILLS = 15


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as server:
        yield server


async def test_a_delivery_outlives_the_process_that_was_at_it(
    tmp_path: Path, nursery: Nursery, shared: dict[str, Any], receiver: Receiver
) -> None:
    settings = {**shared, **SETTINGS}
    async with nursery.server(tmp_path / "first", **settings) as first, first.client() as client:
        webhook = await subscribe(client, receiver.url("hang"))
        conversation = await new_conversation(client)
        await say(client, conversation, "while it is killed")
        cut = await receiver.next()
        first.kill()
        await first.ended()
    receiver.behaviours.clear()  # from now on it answers
    async with nursery.server(tmp_path / "second", **settings) as second, second.client() as client:
        again = await receiver.next()
        assert (again.id, again.raw) == (cut.id, cut.raw)
        assert again.is_signed_with(webhook["secret"])
        log = await until(
            lambda: log_of(client, webhook), lambda rows: all(row["state"] == "succeeded" for row in rows)
        )
        assert [(row["event_id"], row["attempts"]) for row in log] == [(cut.id, 2)]
        await say(client, conversation, "afterwards")
        assert (await receiver.next()).data["content"] == "afterwards"
        await client.delete(f"/api/webhooks/{webhook['id']}")
    assert receiver.is_silent


async def test_nothing_is_lost_or_told_under_two_ids_when_servers_are_killed_again_and_again(
    tmp_path: Path, nursery: Nursery, shared: dict[str, Any], receiver: Receiver
) -> None:
    async with Fleet(nursery, tmp_path, 3, **shared, **SETTINGS) as fleet:
        telling = Telling(fleet, receiver)
        await telling.begin()
        for _ in range(KILLS):
            victim = await fleet.pick(telling.rng)
            await asyncio.gather(telling.append(APPENDED_BETWEEN_KILLS), fleet.kill(victim))
        await telling.append(APPENDED_BETWEEN_KILLS)
        await telling.check((KILLS + 1) * APPENDED_BETWEEN_KILLS)

    assert fleet.tracebacks == []
