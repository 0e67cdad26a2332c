"""What a subscription brings: everything once and in order, from whomever it comes."""

import asyncio

import httpx
import pytest

from app.services import Services
from tests.conftest import Person
from tests.rooms.sockets import Json, Socket, append, connect, messages, text_of, told
from tests.turns.conftest import ended, messages_of, new_conversation
from tests.upstream import TOKENS, Upstream

pytestmark = pytest.mark.mongod

DRIP = {"content": "Hi", "model": "local:drip"}


def id_of(path: str) -> str:
    return path.rpartition("/")[2]


async def is_silent(socket: Socket) -> bool:
    """Whether nothing has come and nothing comes before the next answer."""
    assert (await socket.ask("ping"))["type"] == "pong"
    return not socket.kept


async def test_it_answers_with_the_conversation_and_who_is_there(
    live_url: str, ana: Person, as_ana: httpx.AsyncClient, conversation: str
) -> None:
    await append(as_ana, conversation, "before")
    async with connect(live_url, ana) as socket:
        answer = await socket.subscribe(conversation)
        assert answer["conversation"] == (await as_ana.get(conversation)).json()
        assert answer["presence"] == [{"id": str(ana.id), "name": "Ana"}]
        appended = await append(as_ana, conversation, "after", "and after")
        received = [await socket.receive() for _ in range(2)]
        assert received == [
            {"type": "message", "conversation_id": id_of(conversation), "message": each} for each in appended
        ]
        assert await is_silent(socket)


async def test_two_people_in_one_room_see_each_other_and_the_model_in_the_same_order(
    live_url: str, ana: Person, admin: Person, as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    async with connect(live_url, ana) as hers, connect(live_url, admin) as his:
        await hers.subscribe(conversation)
        both = (await his.subscribe(conversation))["presence"]
        assert {each["name"] for each in both} == {"Ana", "Admin"}
        assert (await hers.receive())["users"] == both

        turn = {"conversation_id": id_of(conversation), "turn": DRIP}
        begun = (await his.ask("ask", **turn))["turn"]
        for _ in TOKENS:
            upstream.gate.release()
        is_last = {"type": "message.updated"}.items()
        seen = [await socket.until(lambda each: is_last <= each.items()) for socket in (hers, his)]

        assert told(seen[0]) == told(seen[1])
        assert [each["type"] for each in seen[0][:3]] == ["message", "message", "turn"]
        events = [each for each in seen[0] if each["type"] == "turn"]
        assert {each["turn_id"] for each in events} == {begun["id"]}
        assert text_of(events) == "".join(TOKENS)
        stored = await messages_of(as_ana, conversation)
        assert events[0]["data"]["user_message"] == seen[0][0]["message"] == stored[0]
        assert seen[0][-1]["message"] == stored[1]

        said = await append(as_ana, conversation, "Thanks, both")
        assert await messages(hers, 1) == await messages(his, 1) == said


async def test_a_subscription_in_the_middle_of_a_turn_brings_it_from_its_first_event(
    live_url: str, ana: Person, as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    async with connect(live_url, ana) as asker, connect(live_url, ana) as late:
        await asker.ask("ask", conversation_id=id_of(conversation), turn=DRIP)
        upstream.gate.release()
        await asker.next("turn", event="delta")

        await late.subscribe(conversation)
        assert (await late.receive())["event"] == "turn.started"
        for _ in TOKENS:
            upstream.gate.release()
        rest = await late.turn()
        assert text_of(rest) == "".join(TOKENS)
        assert (await late.receive())["type"] == "message.updated"


async def test_who_comes_back_gets_what_is_missing_and_then_what_comes(
    live_url: str, ana: Person, as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    stored = await append(as_ana, conversation, *(str(number) for number in range(250)))
    async with connect(live_url, ana) as asker, connect(live_url, ana) as socket:
        await asker.ask("ask", conversation_id=id_of(conversation), turn=DRIP)
        await socket.subscribe(conversation, after_seq=20)
        assert await messages(socket, 230) == stored[20:]
        question, answer = await messages(socket, 2)
        assert (question["seq"], answer["seq"], answer["status"]) == (251, 252, "streaming")
        for _ in TOKENS:
            upstream.gate.release()
        assert text_of(await socket.turn()) == "".join(TOKENS)
        assert (await socket.receive())["type"] == "message.updated"
        assert [each["seq"] for each in await append(as_ana, conversation, "more")] == [253]
        assert (await messages(socket, 1))[0]["seq"] == 253
        assert await is_silent(socket)


async def test_a_number_that_is_not_reached_yet_means_from_now_on(
    live_url: str, ana: Person, as_ana: httpx.AsyncClient, conversation: str
) -> None:
    async with connect(live_url, ana) as socket:
        await socket.subscribe(conversation, after_seq=1000)
        await append(as_ana, conversation, "one")
        assert [each["seq"] for each in await messages(socket, 1)] == [1]


async def test_messages_of_earlier_turns_bring_no_events(
    live_url: str, ana: Person, as_ana: httpx.AsyncClient, conversation: str
) -> None:
    await as_ana.post(f"{conversation}/turns", json={"content": "long ago"})
    async with connect(live_url, ana) as socket:
        await socket.subscribe(conversation, after_seq=0)
        assert [each["content"] for each in await messages(socket, 2)] == ["long ago"] * 2
        assert await is_silent(socket)


async def test_what_changes_is_sent_again(
    live_url: str, ana: Person, as_ana: httpx.AsyncClient, conversation: str
) -> None:
    await as_ana.post(f"{conversation}/turns", json={"content": "Hi"})
    old = (await messages_of(as_ana, conversation))[1]
    async with connect(live_url, ana) as socket:
        await socket.subscribe(conversation)
        path = f"/api/messages/{old['id']}"
        await as_ana.patch(path, json={"feedback": {"rating": "up"}})
        assert (await socket.receive())["message"]["feedback"] == {"rating": "up", "comment": None}
        await as_ana.patch(path, json={"metadata": {"a": "b"}})
        changed = await socket.receive()
        assert (changed["type"], changed["message"]["metadata"]) == ("message.updated", {"a": "b"})

        await socket.ask("regenerate", conversation_id=id_of(conversation))
        superseded = await socket.next("message.updated")
        assert (superseded["message"]["id"], superseded["message"]["status"]) == (old["id"], "superseded")


async def test_after_unsubscribing_nothing_comes(
    live_url: str, ana: Person, as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    other = await new_conversation(as_ana)
    async with connect(live_url, ana) as socket:
        await socket.subscribe(conversation)
        await socket.subscribe(other)
        turn = (await socket.ask("ask", conversation_id=id_of(conversation), turn=DRIP))["turn"]
        await socket.next("turn", event="turn.started")
        assert (await socket.ask("unsubscribe", conversation_id=id_of(conversation)))["type"] == "unsubscribed"
        socket.kept.clear()
        for _ in TOKENS:
            upstream.gate.release()
        await ended_turn(as_ana, turn["id"])
        await append(as_ana, other, "here")
        assert [each["content"] for each in await messages(socket, 1)] == ["here"]

        await socket.subscribe(conversation, after_seq=1)
        assert [each["content"] for each in await messages(socket, 1)] == ["".join(TOKENS)]


async def ended_turn(client: httpx.AsyncClient, id: str) -> Json:
    async with asyncio.timeout(10):
        async with client.stream("GET", f"/api/turns/{id}/events") as response:
            await response.aread()
    turn: Json = (await client.get(f"/api/turns/{id}")).json()
    return turn


async def test_a_conversation_that_is_deleted_ends_its_room(
    live_url: str, ana: Person, as_ana: httpx.AsyncClient, conversation: str
) -> None:
    async with connect(live_url, ana) as socket:
        await socket.subscribe(conversation)
        assert (await as_ana.delete(conversation)).status_code == 204
        told = {"type": "unsubscribed", "conversation_id": id_of(conversation), "reason": "deleted"}
        assert await socket.receive() == told
        gone = await socket.ask("subscribe", conversation_id=id_of(conversation))
        assert gone["code"] == "not_found"

        await as_ana.post(f"{conversation}/restore")
        await socket.subscribe(conversation)
        await append(as_ana, conversation, "again")
        assert len(await messages(socket, 1)) == 1


async def test_a_burst_arrives_once_each_and_in_order(
    live_url: str, ana: Person, live_ana: httpx.AsyncClient, conversation: str
) -> None:
    async with connect(live_url, ana) as early, connect(live_url, ana) as late:
        await early.subscribe(conversation)
        posts = [
            asyncio.create_task(
                live_ana.post(f"{conversation}/messages", json={"role": "user", "content": str(number)})
            )
            for number in range(60)
        ]
        await late.subscribe(conversation, after_seq=0)  # in the middle of it
        assert {(await each).status_code for each in posts} == {201}
        for socket in (early, late):
            received = await socket.until(lambda each: each["type"] == "message" and each["message"]["seq"] == 60)
            numbers = [each["message"]["seq"] for each in received if each["type"] == "message"]
            assert numbers == list(range(1, 61))


async def test_presence_counts_people_and_not_tabs(
    live_url: str, ana: Person, admin: Person, conversation: str, services: Services
) -> None:
    async with connect(live_url, ana) as one, connect(live_url, ana) as two:
        await one.subscribe(conversation)
        assert len((await two.subscribe(conversation))["presence"]) == 1
        assert await is_silent(one)
        async with connect(live_url, admin) as guest:
            await guest.subscribe(conversation)
            for socket in (one, two):
                names = [each["name"] for each in (await socket.next("presence"))["users"]]
                assert sorted(names) == ["Admin", "Ana"]
        for socket in (one, two):
            assert [each["name"] for each in (await socket.next("presence"))["users"]] == ["Ana"]
        await two.ask("unsubscribe", conversation_id=id_of(conversation))
        assert await is_silent(one)


async def test_resuming_a_turn_at_an_event_equals_what_is_stored(
    live_url: str, ana: Person, as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream, services: Services
) -> None:
    async with connect(live_url, ana) as socket:
        turn = (await socket.ask("ask", conversation_id=id_of(conversation), turn=DRIP))["turn"]
        upstream.gate.release()
        before = [*await socket.until(lambda each: each.get("event") == "delta")]
    for _ in TOKENS:
        upstream.gate.release()
    await ended(services, f"/api/turns/{turn['id']}")
    async with connect(live_url, ana) as socket:
        last = before[-1]["number"]
        await socket.ask("follow", turn_id=turn["id"], after=last)
        await socket.subscribe(conversation)
        after = await socket.turn()
    text = text_of([*before, *after])
    assert text == (await messages_of(as_ana, conversation))[1]["content"] == "".join(TOKENS)
