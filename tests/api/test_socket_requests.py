"""What can be asked for over a WebSocket, and what is answered to what cannot."""

from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.api import socket_rooms, socket_turns
from app.auth.schemas import KeyCreate
from app.services import Services
from tests.conftest import Person
from tests.rooms.sockets import Json, Socket, connect, text_of
from tests.turns.conftest import conversation, messages_of, new_conversation, settings, upstream
from tests.upstream import TOKENS, Upstream

__all__ = ["conversation", "settings", "upstream"]

pytestmark = pytest.mark.mongod

NOBODY = str(ObjectId())
DRIP = {"content": "Hi", "model": "local:drip"}


def id_of(path: str) -> str:
    return path.rpartition("/")[2]


async def asked(socket: Socket, conversation: str, **turn: Any) -> Json:
    answer = await socket.ask("ask", conversation_id=id_of(conversation), turn=turn)
    assert answer["type"] == "asked", answer
    return answer


async def test_ping(live_url: str, ana: Person) -> None:
    async with connect(live_url, ana) as socket:
        assert await socket.ask("ping") == {"type": "pong", "id": "r1"}


async def test_asking_without_a_subscription_brings_the_events_by_itself(
    live_url: str, ana: Person, as_ana: httpx.AsyncClient, conversation: str
) -> None:
    async with connect(live_url, ana) as socket:
        answer = await asked(socket, conversation, content="Hello, you")
        events = await socket.turn()

    assert answer["is_replay"] is False
    assert answer["turn"]["state"] == "running"
    assert [events[0]["event"], events[-1]["event"]] == ["turn.started", "turn.completed"]
    assert {each["turn_id"] for each in events} == {answer["turn"]["id"]}
    assert {each["conversation_id"] for each in events} == {id_of(conversation)}
    assert text_of(events) == (await messages_of(as_ana, conversation))[1]["content"] == "Hello, you"


async def test_a_repeated_question_finds_the_same_turn_as_over_rest(
    live_url: str, ana: Person, live_ana: httpx.AsyncClient, conversation: str
) -> None:
    turn = {"content": "Once"}
    rest = await live_ana.post(f"{conversation}/turns", json=turn, headers={"Idempotency-Key": "k"})
    async with connect(live_url, ana) as socket:
        members = {"conversation_id": id_of(conversation), "idempotency_key": "k"}
        again = await socket.ask("ask", turn=turn, **members)
        other = await socket.ask("ask", turn={"content": "Twice"}, **members)

    assert (again["type"], again["is_replay"], again["turn"]) == ("asked", True, rest.json())
    assert (other["status"], other["code"]) == (422, "idempotency_key_reused")
    assert len(await messages_of(live_ana, conversation)) == 2


async def test_a_running_turn_that_is_asked_for_again_is_followed_from_its_first_event(
    live_url: str, ana: Person, conversation: str, upstream: Upstream
) -> None:
    members = {"conversation_id": id_of(conversation), "turn": DRIP, "idempotency_key": "k"}
    async with connect(live_url, ana) as first, connect(live_url, ana) as second:
        turn = (await first.ask("ask", **members))["turn"]
        again = await second.ask("ask", **members)
        assert (again["is_replay"], again["turn"]["id"]) == (True, turn["id"])
        for _ in TOKENS:
            upstream.gate.release()
        for socket in (first, second):
            assert text_of(await socket.turn()) == "".join(TOKENS)
    assert len(upstream.requests) == 1


async def test_regenerating_and_retrying(live_url: str, ana: Person, conversation: str) -> None:
    async with connect(live_url, ana) as socket:
        failed = await asked(socket, conversation, content="Hi", model="local:500")
        assert (await socket.turn())[-1]["event"] == "turn.failed"

        again = await socket.ask("retry", turn_id=failed["turn"]["id"])
        assert (again["type"], again["turn"]["state"]) == ("retried", "running")
        assert (await socket.turn())[-1]["event"] == "turn.failed"

        members = {"conversation_id": id_of(conversation), "turn": {"model": "echo"}}
        new = await socket.ask("regenerate", **members)
        assert (new["type"], new["turn"]["user_message"]["content"]) == ("regenerated", "Hi")
        assert text_of(await socket.turn()) == "Hi"

        done = await socket.ask("retry", turn_id=new["turn"]["id"])
        assert (done["status"], done["reason"]) == (409, "not_retryable")


async def test_cancelling(live_url: str, ana: Person, conversation: str, upstream: Upstream) -> None:
    async with connect(live_url, ana) as socket:
        turn = (await asked(socket, conversation, **DRIP))["turn"]
        await upstream.arrived.acquire()
        cancelled = await socket.ask("cancel", turn_id=turn["id"])
        assert (cancelled["type"], cancelled["turn"]["state"]) == ("cancelled", "cancelled")
        assert (await socket.turn())[-1]["event"] == "turn.cancelled"
    await upstream.hung_up.acquire()


async def test_a_turn_that_is_to_end_with_its_socket_does(
    live_url: str, ana: Person, conversation: str, upstream: Upstream
) -> None:
    async with connect(live_url, ana) as socket:
        await asked(socket, conversation, **DRIP, on_disconnect="cancel")
        await upstream.arrived.acquire()
    await upstream.hung_up.acquire()


async def test_following_a_turn_from_an_event_on_and_no_more(
    live_url: str, ana: Person, conversation: str, upstream: Upstream
) -> None:
    async with connect(live_url, ana) as asker, connect(live_url, ana) as socket:
        turn = (await asked(asker, conversation, **DRIP))["turn"]
        upstream.gate.release()
        await asker.next("turn", event="delta")

        following = await socket.ask("follow", turn_id=turn["id"], after=1)
        assert following == {"type": "following", "id": "r1", "turn_id": turn["id"]}
        twice = await socket.ask("follow", turn_id=turn["id"])
        assert (twice["status"], twice["reason"]) == (409, "followed")
        assert (await socket.next("turn"))["number"] == 2
        unfollowed = await socket.ask("unfollow", turn_id=turn["id"])
        assert unfollowed["type"] == "unfollowed"
        assert (await socket.ask("unfollow", turn_id=turn["id"]))["code"] == "not_found"

        for _ in TOKENS:
            upstream.gate.release()
        events = await asker.turn()
        assert (await socket.ask("ping"))["type"] == "pong"
        assert not socket.kept
        await socket.ask("follow", turn_id=turn["id"], after=2)
        assert await socket.turn() == [each for each in events if each["number"] > 2]
        await socket.ask("follow", turn_id=turn["id"], after=events[-1]["number"])
        assert await socket.turn() == events[-1:]


@pytest.mark.parametrize(
    "request_",
    [
        {"type": "subscribe", "conversation_id": NOBODY},
        {"type": "unsubscribe", "conversation_id": NOBODY},
        {"type": "follow", "turn_id": NOBODY},
        {"type": "unfollow", "turn_id": NOBODY},
        {"type": "ask", "conversation_id": NOBODY, "turn": {"content": "Hi"}},
        {"type": "regenerate", "conversation_id": NOBODY},
        {"type": "retry", "turn_id": NOBODY},
        {"type": "cancel", "turn_id": NOBODY},
    ],
    ids=lambda request: request["type"],
)
async def test_what_is_absent_is_not_found_as_over_rest(live_url: str, ana: Person, request_: Json) -> None:
    async with connect(live_url, ana) as socket:
        answer = await socket.ask(**request_)
        assert answer["type"] == "error"
        assert (answer["id"], answer["status"], answer["code"]) == ("r1", 404, "not_found")
        assert answer["title"]
        assert answer["request_id"].startswith("req_")
        assert (await socket.ask("ping"))["type"] == "pong"


async def test_other_peoples_conversations_and_turns_look_absent(
    live_url: str, ben: Person, live_ana: httpx.AsyncClient, conversation: str, services: Services
) -> None:
    turn = (await live_ana.post(f"{conversation}/turns", json={"content": "Mine"})).json()
    of_conversation = {"conversation_id": id_of(conversation)}
    async with connect(live_url, ben) as socket:
        answers = [
            await socket.ask("subscribe", **of_conversation),
            await socket.ask("ask", **of_conversation, turn={"content": "Hi"}),
            await socket.ask("regenerate", **of_conversation),
            *[await socket.ask(type, turn_id=turn["id"]) for type in ("follow", "retry", "cancel")],
        ]
    assert {answer["code"] for answer in answers} == {"not_found"}
    assert len(await messages_of(live_ana, conversation)) == 2


async def test_reading_needs_read_and_asking_needs_write(
    live_url: str, services: Services, ana: Person, analyst: Person, conversation: str
) -> None:
    _, reads = await services.keys.create(ana.id, KeyCreate(name="reads", scopes=["read"]))
    _, writes = await services.keys.create(ana.id, KeyCreate(name="writes", scopes=["write"]))
    members = {"conversation_id": id_of(conversation)}
    async with connect(live_url, reads) as socket:
        assert (await socket.ask("subscribe", **members))["type"] == "subscribed"
        for type, more in (("ask", {"turn": {"content": "Hi"}}), ("regenerate", {})):
            assert (await socket.ask(type, **members, **more))["status"] == 403
        for type in ("retry", "cancel"):
            assert (await socket.ask(type, turn_id=NOBODY))["status"] == 403
    async with connect(live_url, writes) as socket:
        assert (await socket.ask("subscribe", **members))["status"] == 403
        assert (await socket.ask("follow", turn_id=NOBODY))["status"] == 403
    async with connect(live_url, analyst) as socket:
        assert (await socket.ask("subscribe", **members))["type"] == "subscribed"
        assert (await socket.ask("ask", **members, turn={"content": "Hi"}))["status"] == 403


async def test_a_busy_conversation_is_refused_with_the_running_turn(
    live_url: str, ana: Person, conversation: str, upstream: Upstream
) -> None:
    async with connect(live_url, ana) as socket:
        turn = (await asked(socket, conversation, **DRIP))["turn"]
        busy = await socket.ask("ask", conversation_id=id_of(conversation), turn={"content": "And?"})
        assert (busy["status"], busy["code"], busy["turn_id"]) == (409, "turn_in_progress", turn["id"])
        waits = await asked(socket, conversation, content="Later", when_busy="enqueue")
        assert waits["turn"]["state"] == "queued"
        for _ in TOKENS:
            upstream.gate.release()
        texts = [text_of([each for each in await socket.turn() if each["turn_id"] == turn["id"]])]
        texts.append(text_of(await socket.turn()))
    assert texts == ["".join(TOKENS), "Later"]


async def test_tools_may_have_any_keys(live_url: str, ana: Person, conversation: str, upstream: Upstream) -> None:
    schema = {"$ref": "#/$defs/a.b", "$defs": {"a.b": {"type": "object"}}}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": schema}}]
    async with connect(live_url, ana) as socket:
        await asked(socket, conversation, content="Hi", model="local:tokens", tools=tools)
        await socket.turn()
    assert upstream.requests[0].body["tools"] == tools


async def test_so_many_subscriptions_and_turns_and_no_more(
    live_url: str,
    ana: Person,
    as_ana: httpx.AsyncClient,
    conversation: str,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket_rooms, "MAX_SUBSCRIPTIONS", 1)
    monkeypatch.setattr(socket_turns, "MAX_FOLLOWED", 1)
    other = await new_conversation(as_ana)
    async with connect(live_url, ana) as socket:
        await socket.subscribe(conversation)
        again = await socket.ask("subscribe", conversation_id=id_of(conversation))
        assert (again["status"], again["reason"]) == (409, "subscribed")
        more = await socket.ask("subscribe", conversation_id=id_of(other))
        assert (more["status"], more["reason"]) == (409, "too_many_subscriptions")
        left = await socket.ask("unsubscribe", conversation_id=id_of(conversation))
        assert (left["type"], left["conversation_id"]) == ("unsubscribed", id_of(conversation))
        await socket.subscribe(other)

        turn = (await as_ana.post(f"{conversation}/turns", json={"content": "Hi"})).json()
        await asked(socket, conversation, **DRIP)
        too_many = await socket.ask("follow", turn_id=turn["id"])
        assert (too_many["status"], too_many["reason"]) == (409, "too_many_turns")
