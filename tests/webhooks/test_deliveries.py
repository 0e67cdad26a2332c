"""How events reach receivers of every kind: signed, again and again, and none at the cost of another."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.kit.clock import now
from app.services import Services
from app.webhooks import dispatcher
from app.webhooks.dispatcher import LANE_WIDTH
from app.webhooks.model import Delivery
from app.webhooks.retries import Times
from tests.api.calls import new_conversation, say
from tests.conversations.profiling import profiled
from tests.webhooks.conftest import FIRST_RETRY, log_of, set_times, shown, subscribe, until
from tests.webhooks.receiver import Receiver

pytestmark = pytest.mark.mongod

Json = dict[str, Any]


async def newest(client: httpx.AsyncClient, webhook: Json) -> Json:
    log = await log_of(client, webhook)
    return log[0] if log else {"state": None, "attempts": None, "error": None}


async def settled(client: httpx.AsyncClient, webhook: Json, state: str) -> Json:
    """The newest delivery, once it is in this state."""
    return await until(lambda: newest(client, webhook), lambda row: row["state"] == state)


async def failed_once(client: httpx.AsyncClient, webhook: Json) -> Json:
    """The newest delivery after its first attempt has failed."""
    return await until(lambda: newest(client, webhook), lambda row: row["error"] is not None)


async def switched_off(client: httpx.AsyncClient, webhook: Json) -> Json:
    return await until(lambda: shown(client, webhook), lambda row: not row["active"])


async def test_deliveries_are_signed_and_logged(as_ana: httpx.AsyncClient, receiver: Receiver) -> None:
    webhook = await subscribe(as_ana, receiver.url())
    await say(as_ana, await new_conversation(as_ana), "Hello")

    received = await receiver.next()

    assert received.is_signed_with(webhook["secret"])
    delivery = await settled(as_ana, webhook, "succeeded")
    assert delivery["event_id"] == received.id
    assert (delivery["type"], delivery["attempts"], delivery["response_status"]) == ("message.created", 1, 200)
    assert (delivery["error"], delivery["next_attempt_at"]) == (None, None)
    assert delivery["finished_at"] is not None


async def test_what_fails_is_tried_again_with_the_same_id_and_body(
    as_ana: httpx.AsyncClient, receiver: Receiver, soon: Times
) -> None:
    webhook = await subscribe(as_ana, receiver.url())
    receiver.statuses = [500, 404, 302]
    await say(as_ana, await new_conversation(as_ana), "Hello")

    attempts = await receiver.take(4)

    assert len({each.id for each in attempts}) == 1
    assert len({each.raw for each in attempts}) == 1
    assert all(each.is_signed_with(webhook["secret"]) for each in attempts)
    assert (await settled(as_ana, webhook, "succeeded"))["attempts"] == 4
    await until(lambda: shown(as_ana, webhook), lambda row: row["failing_since"] is None)


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ("hang", "The receiver did not answer in time."),
        ("redirect", "The receiver answered 307; redirects are not followed."),
        ("cut", "The receiver closed the connection without an answer."),
        ("garbage", "The receiver does not answer in HTTP."),
    ],
)
async def test_a_receiver_that_misbehaves_is_told_again_later(
    as_ana: httpx.AsyncClient, receiver: Receiver, behaviour: str, error: str
) -> None:
    webhook = await subscribe(as_ana, receiver.url(behaviour))
    await say(as_ana, await new_conversation(as_ana), "Hello")

    delivery = await failed_once(as_ana, webhook)

    assert (delivery["state"], delivery["error"]) == ("pending", error)
    assert delivery["next_attempt_at"] > delivery["created_at"]
    assert {each.path for each in receiver.received} == {f"/{behaviour}"}
    await until(lambda: shown(as_ana, webhook), lambda row: row["failing_since"] is not None)


async def test_a_receiver_that_cannot_be_connected_to(as_ana: httpx.AsyncClient, receiver: Receiver) -> None:
    webhook = await subscribe(as_ana, "http://127.0.0.1:9/")
    await say(as_ana, await new_conversation(as_ana), "Hello")

    assert (await failed_once(as_ana, webhook))["error"] == "The receiver cannot be connected to."


async def test_an_endless_answer_counts_by_its_status(as_ana: httpx.AsyncClient, receiver: Receiver) -> None:
    webhook = await subscribe(as_ana, receiver.url("endless"))
    await say(as_ana, await new_conversation(as_ana), "Hello")

    assert (await settled(as_ana, webhook, "succeeded"))["response_status"] == 200


async def test_a_busy_receiver_is_left_alone_as_long_as_it_asks(
    as_ana: httpx.AsyncClient, receiver: Receiver, services: Services, soon: Times
) -> None:
    webhook = await subscribe(as_ana, receiver.url("busy"))
    await say(as_ana, await new_conversation(as_ana), "Hello")

    await failed_once(as_ana, webhook)

    row = await services.webhooks.deliveries.collection.find_one({})
    assert row is not None
    assert row["next_attempt_at"] - row["updated_at"] > timedelta(seconds=599)


async def test_gone_switches_the_webhook_off(as_ana: httpx.AsyncClient, receiver: Receiver, soon: Times) -> None:
    webhook = await subscribe(as_ana, receiver.url("gone"))
    conversation = await new_conversation(as_ana)
    await say(as_ana, conversation, "Hello")

    off = await switched_off(as_ana, webhook)

    assert off["disabled_reason"] == "The receiver answered 410: it is gone for good."
    assert (await newest(as_ana, webhook))["state"] == "failed"
    for path in ("ping", f"deliveries/{(await newest(as_ana, webhook))['id']}/redeliver"):
        refused = await as_ana.post(f"/api/webhooks/{webhook['id']}/{path}")
        assert (refused.status_code, refused.json()["reason"]) == (409, "inactive")


async def test_a_webhook_without_success_for_long_is_switched_off_and_on_again(
    as_ana: httpx.AsyncClient, receiver: Receiver, services: Services
) -> None:
    set_times(services, Times(first=FIRST_RETRY, give_up=timedelta(seconds=0.5)))
    webhook = await subscribe(as_ana, receiver.url())
    receiver.statuses = [500] * 100
    conversation = await new_conversation(as_ana)
    await say(as_ana, conversation, "lost")

    off = await switched_off(as_ana, webhook)

    assert off["disabled_reason"] == "No delivery has succeeded for 0 hours. The receiver answered 500."
    lost = await newest(as_ana, webhook)
    assert (lost["state"], lost["next_attempt_at"]) == ("failed", None)
    await say(as_ana, conversation, "not heard")
    receiver.statuses = []
    on = (await as_ana.patch(f"/api/webhooks/{webhook['id']}", json={"active": True})).json()
    assert (on["disabled_reason"], on["failing_since"]) == (None, None)
    before = len(receiver.received)
    await receiver.take(before)
    await say(as_ana, conversation, "heard")
    await settled(as_ana, webhook, "succeeded")
    again = await as_ana.post(f"/api/webhooks/{webhook['id']}/deliveries/{lost['id']}/redeliver")
    assert (again.status_code, again.json()["state"], again.json()["attempts"]) == (200, "pending", 0)
    heard, redelivered = await receiver.take(2)
    assert [heard.data["content"], redelivered.data["content"]] == ["heard", "lost"]
    assert redelivered.id == lost["event_id"]


async def test_too_much_that_waits_switches_a_failing_webhook_off(
    as_ana: httpx.AsyncClient, receiver: Receiver, soon: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "MAX_WAITING", 5)
    webhook = await subscribe(as_ana, receiver.url())
    receiver.statuses = [500] * 100
    conversation = await new_conversation(as_ana)
    path = f"/api/conversations/{conversation['id']}/messages/bulk"
    await as_ana.post(path, json={"messages": [{"role": "user", "content": "x"}] * 20})

    off = await switched_off(as_ana, webhook)

    assert off["disabled_reason"] == "More than 5 deliveries were waiting for it."


async def test_slow_receivers_do_not_hold_up_the_others(
    as_ana: httpx.AsyncClient, receiver: Receiver, services: Services
) -> None:
    services.webhooks._dispatcher._sender._timeout = 60
    slow = [await subscribe(as_ana, receiver.url("hang")) for _ in range(5)]
    await subscribe(as_ana, receiver.url())
    conversation = await new_conversation(as_ana)
    for number in range(10):
        await say(as_ana, conversation, str(number))

    seen: set[str] = set()
    while len(seen) < 10:
        received = await receiver.next()
        seen |= {received.data["content"]} if received.path == "/" else set()

    hanging = [each for each in receiver.received if each.path == "/hang"]
    assert len(slow) <= len(hanging) <= len(slow) * LANE_WIDTH
    receiver.gate.set()


async def test_many_events_all_arrive_once(as_ana: httpx.AsyncClient, receiver: Receiver) -> None:
    await subscribe(as_ana, receiver.url())
    conversation = await new_conversation(as_ana)
    messages = [{"role": "user", "content": str(number)} for number in range(250)]
    path = f"/api/conversations/{conversation['id']}/messages/bulk"
    await as_ana.post(path, json={"messages": messages})

    received = await receiver.take(250)

    assert sorted(each.data["seq"] for each in received) == list(range(1, 251))
    assert receiver.is_silent


async def test_a_ping_tells_whether_it_works(as_ana: httpx.AsyncClient, receiver: Receiver) -> None:
    webhook = await subscribe(as_ana, receiver.url())
    path = f"/api/webhooks/{webhook['id']}/ping"

    first = await as_ana.post(path, headers={"Idempotency-Key": "k"})
    second = await as_ana.post(path, headers={"Idempotency-Key": "k"})

    received = await receiver.next()
    assert (received.type, received.data) == ("webhook.ping", {"webhook_id": webhook["id"]})
    assert first.status_code == second.status_code == 201
    assert first.json()["event_id"] == received.id
    assert (await as_ana.get(first.headers["location"])).json()["items"][0]["id"] == first.json()["id"]
    await settled(as_ana, webhook, "succeeded")
    assert len(receiver.received) == 1


async def test_rotation_signs_with_both_secrets_until_the_overlap_is_over(
    as_ana: httpx.AsyncClient, receiver: Receiver
) -> None:
    webhook = await subscribe(as_ana, receiver.url())
    path = f"/api/webhooks/{webhook['id']}"
    second = (await as_ana.post(f"{path}/rotate", json={})).json()["secret"]
    await as_ana.post(f"{path}/ping")
    both = await receiver.next()
    third = (await as_ana.post(f"{path}/rotate", json={"overlap": 0})).json()["secret"]
    await as_ana.post(f"{path}/ping")
    last = await receiver.next()

    secrets = (webhook["secret"], second, third)
    assert [both.is_signed_with(secret) for secret in secrets] == [True, True, False]
    assert [last.is_signed_with(secret) for secret in secrets] == [False, False, True]


async def test_a_deleted_webhook_is_told_nothing_more(as_ana: httpx.AsyncClient, receiver: Receiver) -> None:
    gone = await subscribe(as_ana, receiver.url("gone-by-now"))
    await subscribe(as_ana, receiver.url())
    assert (await as_ana.delete(f"/api/webhooks/{gone['id']}")).status_code == 204
    await say(as_ana, await new_conversation(as_ana), "Hello")

    assert (await receiver.next()).path == "/"
    assert len(receiver.received) == 1


async def test_what_is_due_is_found_by_one_key_a_webhook(services: Services) -> None:
    rows, instant = services.webhooks.deliveries, now()
    busy, patient = ObjectId(), ObjectId()
    later = {"next_attempt_at": instant + timedelta(hours=1)}
    await rows.insert_new(
        [_pending(busy, number, Times().of_new(instant)) for number in range(300)]
        + [_pending(patient, number, Times().of_new(instant) | later) for number in range(300)]
    )

    async with profiled(services.database) as profile:
        assert await rows.due() == [busy]
        assert await rows.claim(patient, "somebody", 60, limit=8) == []
        assert [each["attempts"] for each in await rows.claim(busy, "somebody", 60, limit=8)] == [1] * 8
        entries = await profile.read("webhook_deliveries")

    assert len(entries) == 5
    assert max(each["keysExamined"] for each in entries) <= 2 * 8


def _pending(webhook_id: ObjectId, number: int, times: dict[str, Any]) -> Delivery:
    return Delivery(
        webhook_id=webhook_id, owner_id=webhook_id, event_id=str(number), type="webhook.ping", body="{}", **times
    )
