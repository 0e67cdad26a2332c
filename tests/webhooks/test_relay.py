"""The relay among processes that come, go and die: no event is lost, and none gets another id."""

from typing import Any

import httpx
import pytest

from app.config import Settings
from app.database import Database
from app.services import Services, build_services
from tests.api.calls import new_conversation, say
from tests.webhooks.conftest import log_of, shown, subscribe, until
from tests.webhooks.receiver import Receiver

pytestmark = pytest.mark.mongod


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Nobody tells anything until a test says so."""
    return settings.model_copy(update={"webhook_delivery": False})


async def contents(receiver: Receiver, count: int) -> list[str]:
    return sorted(each.data["content"] for each in await receiver.take(count))


async def test_what_happens_while_nobody_tells_is_told_later(
    as_ana: httpx.AsyncClient, receiver: Receiver, services: Services
) -> None:
    conversation = await new_conversation(as_ana)
    await say(as_ana, conversation, "before the webhook")
    await subscribe(as_ana, receiver.url())
    await say(as_ana, conversation, "a")
    await say(as_ana, conversation, "b")

    services.webhooks.open()

    assert await contents(receiver, 2) == ["a", "b"]
    assert len(receiver.received) == 2


async def test_the_log_read_twice_gives_the_same_deliveries(
    as_ana: httpx.AsyncClient, receiver: Receiver, services: Services
) -> None:
    """As after a crash between the deliveries and the place in the log."""
    webhook = await subscribe(as_ana, receiver.url())
    state = services.webhooks._state._collection
    place = await state.find_one({})
    conversation = await new_conversation(as_ana)
    await say(as_ana, conversation, "a")
    services.webhooks._relay.open()
    await _has_moved(services, place)
    await services.webhooks._relay.aclose()
    await state.replace_one({"_id": place["_id"]}, place)

    services.webhooks.open()
    await say(as_ana, conversation, "b")

    assert await contents(receiver, 2) == ["a", "b"]
    log = await log_of(as_ana, webhook)
    assert len(log) == len({each["event_id"] for each in log}) == 2


async def _has_moved(services: Services, place: dict[str, Any]) -> None:
    await until(lambda: services.webhooks.deliveries.collection.find_one({}), bool)
    await until(
        lambda: services.webhooks._state._collection.find_one({}), lambda row: row.get("token") != place.get("token")
    )


async def test_several_processes_deliver_each_event_once(
    as_ana: httpx.AsyncClient, receiver: Receiver, services: Services, settings: Settings, empty_database: Database
) -> None:
    others = [build_services(settings, empty_database) for _ in range(2)]
    await subscribe(as_ana, receiver.url())
    conversation = await new_conversation(as_ana)
    for each in (services, *others):
        each.webhooks.open()
    try:
        messages = [{"role": "user", "content": f"{number:03}"} for number in range(100)]
        await as_ana.post(f"/api/conversations/{conversation['id']}/messages/bulk", json={"messages": messages})

        assert await contents(receiver, 100) == [each["content"] for each in messages]
        assert receiver.is_silent
    finally:
        for each in others:
            await each.aclose()


async def test_another_process_goes_on_when_the_one_that_reads_falls_silent(
    as_ana: httpx.AsyncClient, receiver: Receiver, services: Services, settings: Settings, empty_database: Database
) -> None:
    other = build_services(settings, empty_database)
    await subscribe(as_ana, receiver.url())
    conversation = await new_conversation(as_ana)
    services.webhooks.open()
    try:
        await say(as_ana, conversation, "a")
        assert await contents(receiver, 1) == ["a"]
        task = services.webhooks._relay._task
        assert task is not None
        task.cancel()  # without a word: its lease has to end
        other.webhooks.open()
        await say(as_ana, conversation, "b")
        assert await contents(receiver, 1) == ["b"]
    finally:
        await other.aclose()


async def test_a_log_that_does_not_reach_back_is_admitted(
    as_ana: httpx.AsyncClient, receiver: Receiver, services: Services
) -> None:
    webhook = await subscribe(as_ana, receiver.url())
    async with await services.database.client[services.database.name].watch() as stream:
        await new_conversation(as_ana)
        change = await stream.next()
    # An event of the year 1970, of which the log knows nothing.
    token = {"_data": change["_id"]["_data"][:2] + "00000001" + change["_id"]["_data"][10:]}
    await services.webhooks._state._collection.update_one({}, {"$set": {"token": token}})

    services.webhooks.open()

    gap = await receiver.next()
    assert (gap.type, gap.data["webhook_id"]) == ("webhook.gap", webhook["id"])
    assert gap.is_signed_with(webhook["secret"])
    await say(as_ana, await new_conversation(as_ana), "behind it")
    assert await contents(receiver, 1) == ["behind it"]


async def test_who_comes_while_others_are_told_misses_nothing(
    as_ana: httpx.AsyncClient, receiver: Receiver, services: Services
) -> None:
    """The log is read anew for other types of events, from where it was read before."""
    await subscribe(as_ana, receiver.url("conversations"), "conversation.created")
    services.webhooks.open()
    conversation = await new_conversation(as_ana)
    await receiver.next()
    for number in range(5):
        await subscribe(as_ana, receiver.url(str(number)), "message.created" if number % 2 else "turn.completed")
        await say(as_ana, conversation, str(number))

    events = [(each.path, each.data["content"]) for each in await receiver.take(4 + 2)]

    assert sorted(events) == [("/1", "1"), ("/1", "2"), ("/1", "3"), ("/1", "4"), ("/3", "3"), ("/3", "4")]
    assert receiver.is_silent


async def test_nobody_reads_while_no_webhook_is_active(as_ana: httpx.AsyncClient, services: Services) -> None:
    webhook = await subscribe(as_ana, "http://127.0.0.1:9/")
    await as_ana.patch(f"/api/webhooks/{webhook['id']}", json={"active": False})
    assert not (await shown(as_ana, webhook))["active"]
    before = await services.webhooks._state._collection.find_one({})

    await services.webhooks._relay._take_part()

    after = await services.webhooks._state._collection.find_one({})
    assert after["token"] is None
    assert after["start"] >= before["start"]


async def test_a_webhook_that_was_off_hears_of_what_comes_then(
    as_ana: httpx.AsyncClient, receiver: Receiver, services: Services
) -> None:
    webhook = await subscribe(as_ana, receiver.url(), active=False)
    conversation = await new_conversation(as_ana)
    await say(as_ana, conversation, "while it was off")
    await as_ana.patch(f"/api/webhooks/{webhook['id']}", json={"active": True})
    await say(as_ana, conversation, "then")

    services.webhooks.open()

    assert await contents(receiver, 1) == ["then"]
    assert len(receiver.received) == 1
