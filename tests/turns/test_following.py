"""Following a turn: from any event, from any process, while it runs and when it is over."""

import asyncio
import time
from contextlib import aclosing
from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.kit.errors import NotFound
from app.kit.repository import EVERYTHING, Scope
from app.services import Services
from app.turns.events import Event
from app.turns.model import Turn
from app.turns.model import TurnEvents as StoredEvents
from app.turns.streams import TurnEvents
from tests.conftest import Person
from tests.streams import Received, events_of, joined, stream, streaming
from tests.turns.conftest import begin, new_conversation, stored_turns, wait_for_delta
from tests.upstream import TOKENS, Upstream, answer

pytestmark = pytest.mark.mongod

DRIP = {"content": "Hi", "model": "local:drip"}


async def follow(client: httpx.AsyncClient, turn: str, after: int = 0, **headers: str) -> list[Received]:
    path = f"/api/turns/{turn}/events"
    async with client.stream("GET", path, params={"after": after}, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        return [event async for event in events_of(response)]


async def rest_of(events: TurnEvents) -> list[Event]:
    found: list[Event] = []
    async with aclosing(events):
        while (batch := await events.next(None)) is not None:
            found += batch
    return found


async def test_a_turn_that_is_over_is_told_from_any_event_and_always_to_its_end(
    live_ana: httpx.AsyncClient, conversation: str
) -> None:
    told = await stream(live_ana, f"{conversation}/turns", {"content": "one two three"})
    turn = told[-1].data["id"]

    for after in range(len(told) + 1):
        again = await follow(live_ana, turn, after)
        assert again[-1] == told[-1]
        assert [(each.id, each.event) for each in again] == [
            (each.id, each.event) for each in told[min(after, len(told) - 1) :]
        ]
    assert (await follow(live_ana, turn, 100_000)) == told[-1:]


async def test_a_running_turn_is_resumed_behind_the_last_event_seen(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    seen: list[Received] = []
    async with streaming(live_ana, f"{conversation}/turns", DRIP) as response:
        events = events_of(response)
        seen.append(await anext(events))
        for _ in range(2):
            upstream.gate.release()
            seen.append(await anext(events))
    resumed = asyncio.create_task(follow(live_ana, seen[0].data["id"], 0, **{"Last-Event-ID": str(seen[-1].id)}))
    for _ in TOKENS[2:]:
        upstream.gate.release()

    seen += await resumed

    assert [event.id for event in seen] == list(range(1, len(seen) + 1))
    assert joined(seen) == seen[-1].data["assistant_message"]["content"] == "".join(TOKENS)


async def test_the_same_request_with_its_key_is_resumed_too(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    key = {"Idempotency-Key": "once"}
    async with streaming(live_ana, f"{conversation}/turns", DRIP, **key) as response:
        events = events_of(response)
        await anext(events)
        upstream.gate.release()
        assert (await anext(events)).id == 2
    for _ in TOKENS[1:]:
        upstream.gate.release()

    async with streaming(live_ana, f"{conversation}/turns", DRIP, **key, **{"Last-Event-ID": "2"}) as response:
        assert response.headers["idempotency-replayed"] == "true"
        rest = [event async for event in events_of(response)]

    assert rest[0].id == 3
    assert TOKENS[0] + joined(rest) == "".join(TOKENS)
    assert len(upstream.requests) == len(await stored_turns()) == 1


@pytest.mark.parametrize("number", ["x", "-1", "1.5", "9" * 30, "²"])
async def test_a_number_that_is_none_is_refused(live_ana: httpx.AsyncClient, conversation: str, number: str) -> None:
    turn = (await live_ana.post(f"{conversation}/turns", json={"content": "Hi"})).json()["id"]
    header = {b"Last-Event-ID": number.encode()}

    responses = [
        await live_ana.get(f"/api/turns/{turn}/events", headers=header),
        await live_ana.get(f"/api/turns/{turn}/events", params={"after": number}),
    ]

    assert [response.status_code for response in responses] == [422, 422]


async def test_nobody_follows_what_is_not_theirs(
    live_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, anonymous: httpx.AsyncClient, conversation: str
) -> None:
    turn = (await live_ana.post(f"{conversation}/turns", json={"content": "Hi"})).json()["id"]

    assert (await as_ben.get(f"/api/turns/{turn}/events")).status_code == 404
    assert (await as_ben.get(f"/api/turns/{ObjectId()}/events")).status_code == 404
    assert (await anonymous.get(f"/api/turns/{turn}/events")).status_code == 401


async def test_an_expired_log_tells_the_answer_in_one_piece_and_the_end_to_who_has_seen_some(
    live_ana: httpx.AsyncClient, conversation: str
) -> None:
    told = await stream(live_ana, f"{conversation}/turns", {"content": "one two three"})
    turn = told[-1].data["id"]
    await StoredEvents.get_pymongo_collection().delete_many({})

    whole, resumed = await follow(live_ana, turn), await follow(live_ana, turn, 2)

    assert [event.event for event in whole] == ["turn.started", "delta", "turn.completed"]
    assert joined(whole) == "one two three"
    assert resumed == told[-1:]


async def test_another_process_follows_from_the_beginning_and_from_any_event(
    ana: Person, conversation: str, silent: Services, other: Services, upstream: Upstream
) -> None:
    begun = await begin(silent, ana, conversation)
    upstream.gate.release()
    early = await other.turns.streams.open(begun.turn["id"])
    assert (await wait_for_delta(early)).number == 2
    late = await other.turns.streams.open(begun.turn["id"], after=2)
    own = await silent.turns.streams.open(begun.turn["id"])
    for _ in TOKENS[1:]:
        upstream.gate.release()

    tails = await asyncio.gather(*(rest_of(events) for events in (early, late, own)))

    assert tails[0] == tails[1] == tails[2][2:]
    assert [event.number for event in tails[2]] == list(range(1, len(tails[2]) + 1))
    assert tails[0][-1].data == await silent.turns.get(EVERYTHING, begun.turn["id"])
    assert not other.turns.streams._remote


async def test_a_hundred_followers_share_one_look_at_the_log(
    ana: Person, conversation: str, silent: Services, other: Services, upstream: Upstream
) -> None:
    begun = await begin(silent, ana, conversation)
    followers = [await other.turns.streams.open(begun.turn["id"], after=number % 3) for number in range(100)]
    for _ in TOKENS:
        upstream.gate.release()

    told = await asyncio.gather(*(rest_of(events) for events in followers))

    assert all(events == told[0][number % 3 :] for number, events in enumerate(told))
    assert not other.turns.streams._remote


async def test_a_process_that_missed_changes_reads_them_again(
    ana: Person, conversation: str, silent: Services, other: Services, upstream: Upstream
) -> None:
    begun = await begin(silent, ana, conversation)
    events = await other.turns.streams.open(begun.turn["id"])
    await other.changes.aclose()  # blind from now on
    for _ in TOKENS:
        upstream.gate.release()
    await silent.turns.outcome(begun.turn)

    for watch in other.changes._watches.values():
        watch.resync()
    told = await rest_of(events)

    assert "".join(event.data["text"] for event in told if event.name == "delta") == "".join(TOKENS)
    assert told[-1].name == "turn.completed"


async def test_a_turn_that_is_purged_elsewhere_ends_for_a_follower(
    ana: Person, conversation: str, silent: Services, other: Services, upstream: Upstream
) -> None:
    begun = await begin(silent, ana, conversation)
    events = await other.turns.streams.open(begun.turn["id"])

    await silent.privacy.purging.purge(EVERYTHING, ObjectId(begun.turn["conversation_id"]))
    told = await rest_of(events)

    assert told[-1].name == "turn.cancelled"
    with pytest.raises(NotFound):
        await other.turns.streams.open(begun.turn["id"])


async def test_the_scope_is_part_of_following(ana: Person, ben: Person, conversation: str, services: Services) -> None:
    begun = await begin(services, ana, conversation, model="echo")

    with pytest.raises(NotFound):
        await services.turns.get(Scope({"owner_id": ben.id}), begun.turn["id"])


@pytest.mark.slow
async def test_a_slow_reader_keeps_neither_the_turn_nor_the_others_waiting(
    live_url: str, live_ana: httpx.AsyncClient, ana: Person, conversation: str, upstream: Upstream, services: Services
) -> None:
    words = [f"{number:05} {'word ' * 40}" for number in range(2000)]
    upstream.script["words"] = answer(words)
    body = {"content": "Hi", "model": "local:words", "stream": True}
    async with streaming(live_ana, f"{conversation}/turns", body) as response:
        turn = response.headers["location"].rpartition("/")[2]
        started = time.monotonic()
        quick = await follow(live_ana, turn)
        elapsed = time.monotonic() - started
        stored = await services.turns.get(EVERYTHING, ObjectId(turn))
        slow = [event async for event in events_of(response)]  # only now does it read

    assert joined(quick) == joined(slow) == stored["assistant_message"]["content"] == "".join(words)
    assert quick[-1].event == "turn.completed"
    assert elapsed < 30


async def test_bytes_on_the_wire_grow_with_the_answer_and_not_with_its_square(
    live_ana: httpx.AsyncClient, upstream: Upstream
) -> None:
    sizes = []
    for count in (100, 400):
        upstream.script["words"] = answer(["word "] * count)
        path = await new_conversation(live_ana)
        async with streaming(live_ana, f"{path}/turns", {"content": "Hi", "model": "local:words"}) as response:
            sizes.append(sum([len(chunk) async for chunk in response.aiter_raw()]))

    assert sizes[1] < 4 * sizes[0]


async def test_queries_of_the_log_use_its_key(conversation: str, live_ana: httpx.AsyncClient) -> None:
    turn = (await live_ana.post(f"{conversation}/turns", json={"content": "Hi there"})).json()["id"]
    key = {"turn_id": ObjectId(turn)}
    condition = {"_id": {"$gt": {**key, "seq": 1}, "$lte": {**key, "seq": 100}}}

    plan: Any = await StoredEvents.get_pymongo_collection().find(condition, sort=[("_id", 1)]).explain()

    assert "'SORT'" not in str(plan)
    assert "IXSCAN" in str(plan) or "CLUSTERED" in str(plan)
    for query in ({"state": "running", "worker": {"$in": ["a"]}}, {"state": "queued"}):
        plan = await Turn.get_pymongo_collection().find(query).explain()
        assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"]), query
