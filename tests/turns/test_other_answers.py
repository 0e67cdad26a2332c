"""Regenerated answers, edited questions, turns that are run again: numbers without gaps, histories exact."""

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect

from app.conversations.model import Conversation, Message
from app.services import Services
from app.turns import exchange
from tests.conftest import Person
from tests.streams import joined, stream
from tests.turns.conftest import messages_of, new_conversation, stored_turns
from tests.upstream import TOKENS, Upstream, answer

pytestmark = pytest.mark.mongod

ANSWER = "".join(TOKENS)
KEY = {"Idempotency-Key": "once"}
LONG = 4000


@pytest.fixture
async def conversation(as_ana: httpx.AsyncClient) -> str:
    return await new_conversation(as_ana, model="local:tokens")


async def ask(client: httpx.AsyncClient, conversation: str, content: str, **fields: Any) -> dict[str, Any]:
    response = await client.post(f"{conversation}/turns", json={"content": content, **fields})
    assert response.status_code == 201, response.text
    turn: dict[str, Any] = response.json()
    return turn


async def transcript(client: httpx.AsyncClient, conversation: str) -> list[tuple[int, str, str, str]]:
    return [(m["seq"], m["role"], m["status"], m["content"]) for m in await messages_of(client, conversation)]


def history(upstream: Upstream) -> list[str]:
    return [message["content"] for message in upstream.requests[-1].body["messages"]]


async def test_the_last_answer_is_given_again_and_the_old_one_kept(
    as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    await ask(as_ana, conversation, "one")
    await ask(as_ana, conversation, "two")
    upstream.script["other"] = answer(["Other"])

    response = await as_ana.post(f"{conversation}/regenerate", json={"model": "local:other", "temperature": 0.5})

    assert response.status_code == 201
    turn = response.json()
    assert (turn["user_message"]["content"], turn["assistant_message"]["content"]) == ("two", "Other")
    assert await transcript(as_ana, conversation) == [
        (1, "user", "complete", "one"),
        (2, "assistant", "complete", ANSWER),
        (3, "user", "complete", "two"),
        (4, "assistant", "superseded", ANSWER),
        (5, "assistant", "complete", "Other"),
    ]
    assert history(upstream) == ["one", ANSWER, "two"]
    assert upstream.requests[-1].body["temperature"] == 0.5
    await ask(as_ana, conversation, "three")
    assert history(upstream) == ["one", ANSWER, "two", "Other", "three"]
    assert turn == (await as_ana.get(response.headers["location"])).json()


async def test_a_regenerated_answer_can_be_streamed_and_repeated_with_its_key(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    await ask(live_ana, conversation, "one")

    first = await stream(live_ana, f"{conversation}/regenerate", {}, **KEY)
    second = await stream(live_ana, f"{conversation}/regenerate", {}, **KEY)

    assert first[-1] == second[-1]
    assert joined(first) == ANSWER
    assert len(upstream.requests) == 2
    other = await live_ana.post(f"{conversation}/turns", json={"content": "x"}, headers=KEY)
    assert other.json()["code"] == "idempotency_key_reused"


async def test_a_question_without_an_answer_gets_its_first_one(as_ana: httpx.AsyncClient, conversation: str) -> None:
    await as_ana.post(f"{conversation}/messages", json={"role": "user", "content": "by hand"})

    response = await as_ana.post(f"{conversation}/regenerate", json={})

    assert response.status_code == 201
    assert await transcript(as_ana, conversation) == [
        (1, "user", "complete", "by hand"),
        (2, "assistant", "complete", ANSWER),
    ]


async def test_where_nothing_was_asked_nothing_can_be_answered_again(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, conversation: str
) -> None:
    refused = await as_ana.post(f"{conversation}/regenerate", json={})

    assert (refused.status_code, refused.json()["reason"]) == (409, "no_question")
    assert (await as_ben.post(f"{conversation}/regenerate", json={})).status_code == 404


async def test_an_edited_question_takes_the_place_of_all_that_followed(
    as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    for content in ("one", "two", "three"):
        last = await ask(as_ana, conversation, content)
    second = (await messages_of(as_ana, conversation))[2]

    edited = await ask(as_ana, conversation, "two, better", replaces=second["id"], metadata={"edited": "yes"})

    assert [edited["user_message"]["seq"], edited["assistant_message"]["seq"]] == [7, 8]
    statuses = [(seq, status) for seq, _, status, _ in await transcript(as_ana, conversation)]
    superseded = [(seq, "superseded") for seq in range(3, 7)]
    assert statuses == [(1, "complete"), (2, "complete"), *superseded, (7, "complete"), (8, "complete")]
    assert history(upstream) == ["one", ANSWER, "two, better"]
    assert (await as_ana.get(conversation)).json()["last_seq"] == 8
    old = (await as_ana.get(f"/api/turns/{last['id']}")).json()
    assert (old["state"], old["assistant_message"]["status"]) == ("completed", "superseded")
    again = await as_ana.post(
        f"{conversation}/turns", json={"content": "two, best", "replaces": edited["user_message"]["id"]}
    )
    assert again.json()["user_message"]["seq"] == 9
    assert history(upstream) == ["one", ANSWER, "two, best"]


async def test_only_a_users_present_message_of_this_conversation_can_be_replaced(
    as_ana: httpx.AsyncClient, conversation: str
) -> None:
    elsewhere = await new_conversation(as_ana)
    foreign = await ask(as_ana, elsewhere, "one")
    turn = await ask(as_ana, conversation, "one")
    edited = await ask(as_ana, conversation, "better", replaces=turn["user_message"]["id"])
    before = await transcript(as_ana, conversation)

    for id in (
        turn["user_message"]["id"],
        edited["assistant_message"]["id"],
        foreign["user_message"]["id"],
        str(ObjectId()),
    ):
        refused = await as_ana.post(f"{conversation}/turns", json={"content": "x", "replaces": id})
        assert (refused.status_code, refused.json()["fields"][0]["field"]) == (422, "body.replaces")
    assert await transcript(as_ana, conversation) == before


async def test_a_message_too_far_back_is_to_be_forked(
    as_ana: httpx.AsyncClient, conversation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "MAX_SUPERSEDED", 2)
    turn = await ask(as_ana, conversation, "one")
    await ask(as_ana, conversation, "two")

    refused = await as_ana.post(f"{conversation}/turns", json={"content": "x", "replaces": turn["user_message"]["id"]})

    assert (refused.status_code, refused.json()["reason"]) == (409, "too_far_back")


async def test_many_edits_and_appends_at_once_keep_the_numbers_gapless_and_one_exchange(
    as_ana: httpx.AsyncClient, conversation: str
) -> None:
    turn = await ask(as_ana, conversation, "one")
    edit = {"content": "edit", "replaces": turn["user_message"]["id"]}
    note = {"role": "user", "content": "note"}

    responses = await asyncio.gather(
        *(as_ana.post(f"{conversation}/turns", json=edit) for _ in range(4)),
        *(as_ana.post(f"{conversation}/regenerate", json={}) for _ in range(4)),
        *(as_ana.post(f"{conversation}/messages", json=note) for _ in range(10)),
    )

    assert {response.status_code for response in responses} <= {201, 409, 422}
    assert {response.status_code for response in responses[8:]} == {201}
    messages = await transcript(as_ana, conversation)
    assert [seq for seq, *_ in messages] == list(range(1, len(messages) + 1))
    stored = (await as_ana.get(conversation)).json()
    assert stored["last_seq"] == stored["message_count"] == len(messages)
    assert all(row["state"] == "completed" for row in await stored_turns())


@pytest.mark.parametrize(("model", "status"), [("local:500", 502), ("hasty:stall-middle", 502)])
async def test_a_failed_turn_is_run_again_with_its_parameters(
    as_ana: httpx.AsyncClient, conversation: str, upstream: Upstream, model: str, status: int
) -> None:
    body = {"content": "Hi", "model": model, "temperature": 0.25, "stop": ["END"]}
    failed = await as_ana.post(f"{conversation}/turns", json=body)
    assert failed.status_code == status
    upstream.script[model.partition(":")[2]] = answer(["Now"])

    response = await as_ana.post(f"{failed.headers['location']}/retry")

    assert response.status_code == 201
    turn = response.json()
    assert (turn["model"], turn["assistant_message"]["content"]) == (model, "Now")
    sent = upstream.requests[-1].body
    assert (sent["temperature"], sent["stop"], history(upstream)) == (0.25, ["END"], ["Hi"])
    statuses = [(seq, status) for seq, _, status, _ in await transcript(as_ana, conversation)]
    assert statuses == [(1, "complete"), (2, "superseded"), (3, "complete")]
    gone = await as_ana.post(f"{failed.headers['location']}/retry")
    assert (gone.status_code, gone.json()["reason"]) == (409, "gone_on")


async def test_a_cancelled_turn_is_run_again_as_a_stream_and_once(
    live_ana: httpx.AsyncClient, conversation: str, upstream: Upstream
) -> None:
    running = asyncio.create_task(live_ana.post(f"{conversation}/turns", json={"content": "Hi", "model": "local:drip"}))
    await upstream.arrived.acquire()
    location = (await live_ana.post(f"{conversation}/turns", json={"content": "x"})).headers["location"]
    busy = await live_ana.post(f"{location}/retry")
    await live_ana.post(f"{location}/cancel")
    await running
    for _ in TOKENS:
        upstream.gate.release()

    told = [await stream(live_ana, f"{location}/retry", {}, **KEY) for _ in range(2)]

    assert (busy.status_code, busy.json()["reason"]) == (409, "not_retryable")
    assert joined(told[0]) == joined(told[1]) == ANSWER
    assert len(upstream.requests) == 2


async def test_a_turn_that_is_complete_or_past_is_not_run_again(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, conversation: str
) -> None:
    complete = await ask(as_ana, conversation, "Hi")
    failed = await as_ana.post(f"{conversation}/turns", json={"content": "Ho", "model": "local:500"})
    await ask(as_ana, conversation, "Hey")

    responses = [
        await as_ana.post(f"/api/turns/{complete['id']}/retry"),
        await as_ana.post(f"{failed.headers['location']}/retry"),
        await as_ben.post(f"{failed.headers['location']}/retry"),
        await as_ana.post(f"/api/turns/{ObjectId()}/retry"),
    ]

    assert [response.status_code for response in responses] == [409, 409, 404, 404]
    assert [response.json().get("reason") for response in responses[:2]] == ["not_retryable", "gone_on"]


async def long_conversation(services: Services, person: Person) -> tuple[str, ObjectId]:
    """One with LONG messages; answers its path and the id of its first one."""
    conversation = Conversation(owner_id=person.id, model="local:tokens", last_seq=LONG, message_count=LONG)
    messages = [
        Message(
            conversation_id=conversation.id,
            owner_id=person.id,
            seq=seq,
            role="user" if seq % 2 else "assistant",
            content=f"word {seq}",
        )
        for seq in range(1, LONG + 1)
    ]
    await services.conversations.rows.insert_many([conversation])
    await services.conversations.messages.insert_many(messages)
    return f"/api/conversations/{conversation.id}", messages[0].id


async def stored_statuses(conversation: str) -> Counter[str]:
    rows = Message.get_pymongo_collection().find({"conversation_id": ObjectId(conversation.rpartition("/")[2])})
    return Counter([row["status"] async for row in rows])


async def test_a_question_far_back_is_replaced_with_all_that_followed(
    ana: Person, as_ana: httpx.AsyncClient, services: Services, upstream: Upstream
) -> None:
    """More than a transaction could take: 1.5 ms a message, because each is moved in several indexes."""
    path, first = await long_conversation(services, ana)

    turn = await ask(as_ana, path, "better", replaces=str(first))

    assert turn["user_message"]["seq"] == LONG + 1
    assert await stored_statuses(path) == {"superseded": LONG, "complete": 2}
    assert history(upstream) == ["better"]
    versions = await Message.get_pymongo_collection().distinct("version", {"status": "superseded"})
    assert versions == [2], "who looks for changes finds them"


async def test_what_a_lost_process_has_left_of_it_is_done_before_the_conversation_goes_on(
    ana: Person, as_ana: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, first = await long_conversation(services, ana)
    messages = services.conversations.messages
    supersede = messages.supersede

    async def lost(*args: Any, **options: Any) -> None:
        raise AutoReconnect("the database went away")

    monkeypatch.setattr(messages, "supersede", lost)
    refused = await as_ana.post(f"{path}/turns", json={"content": "better", "replaces": str(first)})
    assert refused.status_code == 503
    assert await stored_statuses(path) == {"complete": LONG + 1, "streaming": 1}

    monkeypatch.setattr(messages, "supersede", supersede)
    for _ in range(2):
        await services.housekeeping._sweep()
    assert await stored_statuses(path) == {"superseded": LONG, "complete": 1, "interrupted": 1}
