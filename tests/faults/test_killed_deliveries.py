"""The delivering process is killed in the middle of a delivery: another one delivers it, under the same id."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.calls import new_conversation, say
from tests.faults.nursery import Nursery
from tests.webhooks.conftest import log_of, subscribe, until
from tests.webhooks.receiver import Receiver

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

SETTINGS: dict[str, Any] = {
    "webhook_allow": ["127.0.0.1"],
    "webhook_timeout": 1.5,
    "turn_lease": 1,
    "log_level": "warning",
    "search_builder": False,
}


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
    assert receiver.is_silent
