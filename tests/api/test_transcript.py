"""/api/conversations/{id}/messages: appending, and reading in both directions."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.config import Settings
from app.conversations.schemas import MAX_APPENDED
from tests.api.calls import Json, fields_at_fault, items, new_conversation, pages, say
from tests.conftest import DATABASE, Person

MAX_BYTES = 10_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, data=tmp_path, database=DATABASE, drain_timeout=2, max_message_bytes=MAX_BYTES)


@pytest.fixture
async def conversation(as_ana: httpx.AsyncClient) -> Json:
    return await new_conversation(as_ana)


@pytest.fixture
def path(conversation: Json) -> str:
    return f"/api/conversations/{conversation['id']}/messages"


def message(content: str, role: str = "user", **fields: Any) -> Json:
    return {"role": role, "content": content, **fields}


async def append(client: httpx.AsyncClient, path: str, *contents: str) -> list[Json]:
    response = await client.post(f"{path}/bulk", json={"messages": [message(content) for content in contents]})
    assert response.status_code == 201, response.text
    return list(response.json()["items"])


async def test_an_appended_message_is_answered_whole_and_found_again(
    as_ana: httpx.AsyncClient, ana: Person, conversation: Json, path: str
) -> None:
    text = "恋恋笔记本 e\u0301 \U0001f468\u200d\U0001f469\u200d\U0001f467\r\n\t=1+1\u2028"
    response = await as_ana.post(path, json=message(text, "assistant", model="gpt", metadata={"a": "b"}))

    assert response.status_code == 201
    made = response.json()
    assert (made["content"], made["role"], made["model"], made["metadata"]) == (text, "assistant", "gpt", {"a": "b"})
    assert (made["seq"], made["status"], made["turn_id"], made["feedback"]) == (1, "complete", None, None)
    assert (made["conversation_id"], made["owner_id"]) == (conversation["id"], str(ana.id))
    again = await as_ana.get(response.headers["location"])
    assert again.json() == made
    assert again.headers["etag"] == response.headers["etag"] == '"1"'


@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool"])
async def test_every_role_may_speak(as_ana: httpx.AsyncClient, path: str, role: str) -> None:
    assert (await as_ana.post(path, json=message("x", role))).json()["role"] == role


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"content": "x"}, "body.role"),
        ({"role": "user"}, "body.content"),
        (message("x", "narrator"), "body.role"),
        (message("x", seq=7), "body.seq"),
        (message("x", status="streaming"), "body.status"),
        (message("x", owner_id="0" * 24), "body.owner_id"),
        (message("x", metadata={str(number): "x" for number in range(17)}), "body.metadata"),
        (message("x", metadata={"a.b": "x"}), "body"),
        (message("x", metadata={"$a": "x"}), "body"),
        (message("é" * (MAX_BYTES // 2) + "x"), "body.content"),
    ],
)
async def test_a_message_that_cannot_be_used_is_named_and_takes_no_number(
    as_ana: httpx.AsyncClient, path: str, body: Json, field: str
) -> None:
    assert fields_at_fault(await as_ana.post(path, json=body)) == [field]
    assert (await as_ana.post(path, json=message("first"))).json()["seq"] == 1


async def test_a_message_may_have_exactly_the_bytes_of_the_setting(as_ana: httpx.AsyncClient, path: str) -> None:
    text = "é" * (MAX_BYTES // 2)

    assert (await as_ana.post(path, json=message(text))).json()["content"] == text


async def test_messages_appended_together_keep_their_order(as_ana: httpx.AsyncClient, path: str) -> None:
    await append(as_ana, path, "a")
    made = await append(as_ana, path, "b", "c", "d")

    assert [(each["seq"], each["content"]) for each in made] == [(2, "b"), (3, "c"), (4, "d")]
    assert (await items(as_ana, path))[1:] == made


@pytest.mark.parametrize("before", [0, 2])
async def test_one_message_too_large_keeps_all_of_them_out(as_ana: httpx.AsyncClient, path: str, before: int) -> None:
    messages = [*[message("fine")] * before, message("x" * (MAX_BYTES + 1))]

    refused = await as_ana.post(f"{path}/bulk", json={"messages": messages})

    assert fields_at_fault(refused) == [f"body.messages.{before}.content"]
    assert await items(as_ana, path) == []


@pytest.mark.parametrize("count", [0, MAX_APPENDED + 1])
async def test_none_or_too_many_messages_are_refused(as_ana: httpx.AsyncClient, path: str, count: int) -> None:
    refused = await as_ana.post(f"{path}/bulk", json={"messages": [message("x")] * count})

    assert fields_at_fault(refused) == ["body.messages"]


async def test_a_transcript_is_paged_forwards_and_backwards(as_ana: httpx.AsyncClient, path: str) -> None:
    await append(as_ana, path, *[str(number) for number in range(1, 26)])

    forwards = await pages(as_ana, path, limit=10)
    backwards = await pages(as_ana, path, limit=10, sort="-seq")

    assert [[each["seq"] for each in page] for page in forwards] == [
        list(range(1, 11)),
        list(range(11, 21)),
        list(range(21, 26)),
    ]
    assert [each for page in backwards for each in page] == [each for page in forwards for each in page][::-1]


async def test_a_page_can_begin_anywhere(as_ana: httpx.AsyncClient, path: str) -> None:
    await append(as_ana, path, *[str(number) for number in range(1, 26)])

    assert [each["seq"] for each in await items(as_ana, path, seq__gt=10, limit=3)] == [11, 12, 13]
    assert [each["seq"] for each in await items(as_ana, path, seq__lt=10, limit=3, sort="-seq")] == [9, 8, 7]
    assert [each["seq"] for each in await items(as_ana, path, seq__in="3,1,99")] == [1, 3]


async def test_messages_appended_meanwhile_come_on_the_next_page(as_ana: httpx.AsyncClient, path: str) -> None:
    await append(as_ana, path, "1", "2", "3")
    first = (await as_ana.get(path, params={"limit": 2})).json()
    await append(as_ana, path, "4")

    assert [each["content"] for each in await items(as_ana, path, after=first["next"])] == ["3", "4"]


async def test_a_cursor_of_another_conversation_is_refused(as_ana: httpx.AsyncClient, path: str) -> None:
    await append(as_ana, path, "1", "2")
    other = await new_conversation(as_ana)
    following = (await as_ana.get(path, params={"limit": 1})).json()["next"]

    refused = await as_ana.get(f"/api/conversations/{other['id']}/messages", params={"after": following})

    assert refused.status_code == 422
    assert refused.json()["code"] == "invalid_cursor"


@pytest.mark.parametrize(
    "parameters",
    [{"sort": "created_at"}, {"conversation_id": "0" * 24}, {"seq": "one"}, {"fields": "secret"}, {"x": "1"}],
)
async def test_a_parameter_that_is_none_is_named(
    as_ana: httpx.AsyncClient, path: str, parameters: dict[str, str]
) -> None:
    assert fields_at_fault(await as_ana.get(path, params=parameters)) == [f"query.{name}" for name in parameters]


async def test_a_transcript_can_be_filtered_projected_and_counted(as_ana: httpx.AsyncClient, path: str) -> None:
    await as_ana.post(path, json=message("q", "user"))
    await as_ana.post(path, json=message("a", "assistant"))

    response = await as_ana.get(path, params={"role": "assistant", "fields": "seq,content", "count": "exact"})

    [only] = response.json()["items"]
    assert only == {"id": only["id"], "seq": 2, "content": "a"}
    assert response.json()["total"] == 1


async def test_an_admin_speaks_in_the_owners_name(
    as_admin: httpx.AsyncClient, as_ana: httpx.AsyncClient, ana: Person, path: str
) -> None:
    made = (await as_admin.post(path, json=message("from above"))).json()

    assert made["owner_id"] == str(ana.id)
    assert await items(as_ana, path) == [made]


async def test_a_repeated_append_with_its_key_happens_once(
    as_ana: httpx.AsyncClient, conversation: Json, path: str
) -> None:
    headers = {"Idempotency-Key": "one"}
    first = await as_ana.post(path, json=message("a"), headers=headers)
    second = await as_ana.post(path, json=message("a"), headers=headers)
    other = await as_ana.post(path, json=message("b"), headers=headers)

    assert second.json() == first.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"
    assert [each["content"] for each in await items(as_ana, path)] == ["a"]
    elsewhere = await new_conversation(as_ana)
    other_path = f"/api/conversations/{elsewhere['id']}/messages"
    assert (await as_ana.post(other_path, json=message("a"), headers=headers)).json()["seq"] == 1


async def test_a_refused_append_leaves_its_key_free(as_ana: httpx.AsyncClient, path: str) -> None:
    headers = {"Idempotency-Key": "one"}

    assert (await as_ana.post(path, json=message("x" * (MAX_BYTES + 1)), headers=headers)).status_code == 422
    assert (await as_ana.post(path, json=message("x"), headers=headers)).status_code == 201


@pytest.mark.mongod
@pytest.mark.parametrize("way", ["", "/bulk"])
async def test_one_key_sent_twenty_times_at_once_appends_once(as_ana: httpx.AsyncClient, path: str, way: str) -> None:
    body = {"messages": [message("a"), message("b")]} if way else message("a")

    answers = await asyncio.gather(
        *(as_ana.post(path + way, json=body, headers={"Idempotency-Key": "one"}) for _ in range(20))
    )

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 19
    assert [each["seq"] for each in await items(as_ana, path)] == ([1, 2] if way else [1])


async def test_without_a_key_the_same_words_are_two_messages(
    as_ana: httpx.AsyncClient, conversation: Json, path: str
) -> None:
    await say(as_ana, conversation, "again")
    await say(as_ana, conversation, "again")

    assert [each["seq"] for each in await items(as_ana, path, q="again")] == [1, 2]


@pytest.mark.mongod
async def test_a_turn_and_its_answer_are_in_the_transcript(as_ana: httpx.AsyncClient, path: str) -> None:
    turn = (await as_ana.post(path.replace("messages", "turns"), json={"content": "hello"})).json()

    asked, answered = await items(as_ana, path, turn_id=turn["id"])
    assert (asked["seq"], asked["role"], asked["content"]) == (1, "user", "hello")
    assert (answered["seq"], answered["role"], answered["status"]) == (2, "assistant", "complete")
    assert answered["content"] == turn["assistant_message"]["content"]
