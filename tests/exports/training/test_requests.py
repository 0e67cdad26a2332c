"""/api/conversations/export/training: real conversations, who sees which, and what is refused."""

import asyncio
import hashlib
from typing import Any

import httpx
import pytest
from blockbuster import BlockBuster
from fastapi import FastAPI

from app.auth.schemas import KeyCreate
from app.exports.training import reading
from app.services import Services
from tests.api.calls import fields_at_fault, say
from tests.api.calls import new_conversation as new
from tests.conftest import Person, client_of
from tests.exports.files import fill, read_jsonl
from tests.exports.test_streaming import collect
from tests.exports.training.rules import CHECKS
from tests.exports.training.transcripts import WEATHER
from tests.turns.conftest import messages_of
from tests.upstream import Upstream

pytestmark = pytest.mark.mongod

PATH = "/api/conversations/export/training"
LONG = {"max_tokens": "1000000"}


async def get(client: httpx.AsyncClient, **parameters: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines, which meet the rules, and the report without its summary, which tells the truth about them."""
    file = await client.get(PATH, params=parameters)
    report = await client.get(f"{PATH}/report", params=parameters)
    assert (file.status_code, report.status_code) == (200, 200), file.text
    lines, reported = read_jsonl(file.content), read_jsonl(report.content)
    for line in lines:
        CHECKS[parameters.get("format", "openai-chat")](line)
    summary = reported.pop()["summary"]
    assert (summary["lines"], summary["bytes"]) == (len(lines), len(file.content))
    assert summary["sha256"] == hashlib.sha256(file.content).hexdigest()
    assert sum(summary["left_out"].values()) == sum(summary["reasons"].values()) == len(reported)
    return lines, reported


async def test_a_real_conversation_with_tools_is_a_line(as_ana: httpx.AsyncClient, talk: str) -> None:
    lines, reported = await get(as_ana)

    call = {"id": "call_0", "type": "function", "function": {"name": "weather", "arguments": '{"city": "上海"}'}}
    assert reported == []
    assert lines == [
        {
            "messages": [
                {"role": "system", "content": "You know the weather."},
                {"role": "user", "content": "天气?"},
                {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "content": "晴", "tool_call_id": "call_0"},
                {"role": "assistant", "content": "Other"},
            ],
            "tools": [WEATHER],
        }
    ]


async def test_answers_given_again_are_pairs_when_rated_or_assumed(as_ana: httpx.AsyncClient, talk: str) -> None:
    lines, reported = await get(as_ana, format="openai-preference")
    assert (lines, [each["code"] for each in reported]) == ([], ["no_preference"])
    assert reported[0]["seq"] == 4
    assumed, _ = await get(as_ana, format="openai-preference", assume_latest_preferred="true")
    assert assumed[0]["preferred_output"] == [{"role": "assistant", "content": "Other"}]

    first = (await messages_of(as_ana, talk))[3]
    assert first["status"] == "superseded"
    await as_ana.patch(f"/api/messages/{first['id']}", json={"feedback": {"rating": "up"}})

    (line,), _ = await get(as_ana, format="openai-preference", assume_latest_preferred="true")
    assert line["preferred_output"] == [{"role": "assistant", "content": "Hello, world!"}]
    assert [each["role"] for each in line["input"]["messages"]] == ["system", "user", "assistant", "tool"]
    (trl,), _ = await get(as_ana, format="trl-preference", include_system="false")
    assert [each["content"] for each in (*trl["chosen"], *trl["rejected"])] == ["Hello, world!", "Other"]
    (rated,), _ = await get(as_ana, format="trl-feedback")
    assert (rated["completion"][0]["content"], rated["label"]) == ("Hello, world!", True)


async def test_it_is_sharegpt_too(as_ana: httpx.AsyncClient, talk: str) -> None:
    (line,), _ = await get(as_ana, format="sharegpt")
    kinds = ["system", "human", "function_call", "observation", "gpt"]
    assert [each["from"] for each in line["conversations"]] == kinds


async def test_a_failed_answer_that_was_run_again_is_compared_with_nothing(
    as_ana: httpx.AsyncClient, models: Upstream
) -> None:
    conversation = await new(as_ana, model="local:500")
    failed = await as_ana.post(f"/api/conversations/{conversation['id']}/turns", json={"content": "Hi"})
    again = await as_ana.post(f"/api/conversations/{conversation['id']}/regenerate", json={"model": "local:tokens"})
    assert (failed.status_code, again.status_code) == (502, 201)

    lines, reported = await get(as_ana, format="openai-preference", assume_latest_preferred="true")
    assert (lines, [(each["code"], each["seq"]) for each in reported]) == ([], [("unfinished_answer", 2)])
    assert len((await get(as_ana))[0]) == 1


async def test_the_report_names_what_was_left_out_and_why(as_ana: httpx.AsyncClient) -> None:
    empty = await new(as_ana)
    waiting = await new(as_ana)
    await say(as_ana, waiting, "one")
    await say(as_ana, waiting, "1", role="assistant")
    await say(as_ana, waiting, "two")

    lines, reported = await get(as_ana)
    assert [len(line["messages"]) for line in lines] == [2]
    assert reported == [
        {
            "conversation_id": empty["id"],
            "left_out": "conversation",
            "code": "empty",
            "seq": None,
            "detail": "There are no messages.",
        },
        {
            "conversation_id": waiting["id"],
            "left_out": "rest",
            "code": "no_answer",
            "seq": 3,
            "detail": "The last question has no answer.",
        },
    ]


async def test_the_summary_says_what_was_asked(as_ana: httpx.AsyncClient) -> None:
    response = await as_ana.get(f"{PATH}/report", params={"tags": "film", "max_tokens": "100", "sort": "title"})
    summary = read_jsonl(response.content)[-1]["summary"]
    assert summary["filter"] == {"tags": "film"}
    assert summary["options"] == {"min_rating": "unrated", "include_system": True, "max_tokens": 100}
    assert (summary["format"], summary["conversations"], summary["lines"]) == ("openai-chat", 0, 0)


async def test_filters_and_order_are_those_of_the_list(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    for name in ("one", "two", "three"):
        await fill(services, ana.id, [name, "answer"], tags=[name], model=f"m-{name}")

    async def firsts(**parameters: str) -> list[str]:
        return [line["messages"][0]["content"] for line in (await get(as_ana, **parameters))[0]]

    assert await firsts(sort="created_at") == ["one", "two", "three"]
    assert await firsts(sort="-created_at") == ["three", "two", "one"]
    assert await firsts(tags="two") == ["two"]
    assert await firsts(model__in="m-one,m-three") == ["one", "three"]
    assert await firsts(q="Fill", match="prefix") == ["one", "two", "three"]
    assert await firsts(created_at__lt="2026-01-01") == []


async def test_everybody_gets_what_they_may_see(
    services: Services,
    as_ana: httpx.AsyncClient,
    as_ben: httpx.AsyncClient,
    as_analyst: httpx.AsyncClient,
    ana: Person,
    ben: Person,
) -> None:
    await fill(services, ana.id, ["ana asks", "answer"])
    await fill(services, ben.id, ["ben asks"])

    for client, expected in ((as_ana, (1, 0)), (as_ben, (0, 1)), (as_analyst, (1, 1))):
        lines, reported = await get(client)
        assert (len(lines), len(reported)) == expected
    assert await get(as_ben, owner_id=str(ana.id)) == ([], [])


async def test_deleted_conversations_are_nowhere(as_ana: httpx.AsyncClient) -> None:
    conversation = await new(as_ana)
    await say(as_ana, conversation, "Hi")
    await say(as_ana, conversation, "Hello", role="assistant")
    await as_ana.delete(f"/api/conversations/{conversation['id']}")

    assert await get(as_ana) == ([], [])
    lines, reported = await get(as_ana, status="deleted")
    assert (lines, [each["code"] for each in reported]) == ([], ["empty"])


@pytest.mark.parametrize("path", [PATH, f"{PATH}/report"])
async def test_exporting_needs_the_permission(
    app: FastAPI, services: Services, anonymous: httpx.AsyncClient, ana: Person, path: str
) -> None:
    _, secret = await services.keys.create(ana.id, KeyCreate(name="no exports", scopes=["read", "write"]))
    async with client_of(app, Person(ana.id, ana.email, secret)) as client:
        assert (await client.get(path)).status_code == 403
    assert (await anonymous.get(path)).status_code == 401


@pytest.mark.parametrize(
    ("parameters", "fields"),
    [
        ({"format": "csv"}, ["query.format"]),
        ({"min_rating": "5"}, ["query.min_rating"]),
        ({"include_system": "yes"}, ["query.include_system"]),
        ({"assume_latest_preferred": "true"}, ["query.assume_latest_preferred"]),
        ({"format": "sharegpt", "assume_latest_preferred": "false"}, ["query.assume_latest_preferred"]),
        ({"format": "trl-preference", "min_rating": "up"}, ["query.min_rating"]),
        ({"max_tokens": "0"}, ["query.max_tokens"]),
        ({"max_tokens": "1000001"}, ["query.max_tokens"]),
        ({"max_tokens": "-1"}, ["query.max_tokens"]),
        ({"max_tokens": "9" * 20, "model__in": ""}, ["query.max_tokens", "query.model__in"]),
        ({"nonsense": "1"}, ["query.nonsense"]),
        ({"limit": "5"}, ["query.limit"]),
        ({"columns": "id"}, ["query.columns"]),
    ],
)
async def test_what_cannot_be_understood_is_refused_by_name(
    as_ana: httpx.AsyncClient, parameters: dict[str, str], fields: list[str]
) -> None:
    for path in (PATH, f"{PATH}/report"):
        assert sorted(fields_at_fault(await as_ana.get(path, params=parameters))) == fields


async def test_a_pattern_the_database_refuses_is_an_error_and_not_a_broken_file(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    await fill(services, ana.id, ["Q", "A"])
    response = await as_ana.get(PATH, params={"q": "(", "match": "regex"})
    assert fields_at_fault(response) == ["query.q"]


async def test_a_parameter_given_twice_is_refused(as_ana: httpx.AsyncClient) -> None:
    assert fields_at_fault(await as_ana.get(f"{PATH}?format=sharegpt&format=openai-chat")) == ["query.format"]


async def test_the_file_has_a_name_and_a_type(as_ana: httpx.AsyncClient) -> None:
    for path, ending in ((PATH, "Z.jsonl"), (f"{PATH}/report", "Z-report.jsonl")):
        headers = (await as_ana.get(path, params={"format": "sharegpt"})).headers
        assert headers["content-type"] == "application/x-ndjson"
        assert headers["cache-control"] == "no-store"
        name = headers["content-disposition"].removeprefix('attachment; filename="').removesuffix('"')
        assert name.startswith("training-sharegpt-2")
        assert name.endswith(ending)


async def test_nothing_blocks_the_event_loop(
    services: Services, as_ana: httpx.AsyncClient, ana: Person, blocking_is_an_error: BlockBuster
) -> None:
    await fill(services, ana.id, ["Word for word, 一字不差. " * 500] * 40)
    for format in CHECKS:
        await get(as_ana, format=format)


@pytest.fixture
async def more_than_sockets_hold(services: Services, ana: Person, monkeypatch: pytest.MonkeyPatch) -> int:
    """Conversations of two mebibytes, which are read one after the other; answers how many."""
    monkeypatch.setattr(reading, "CONVERSATIONS_AT_ONCE", 1)
    for _ in range(10):
        await fill(services, ana.id, ["a" * (1 << 20)] * 2)
    return 10


@pytest.mark.slow
async def test_lines_are_sent_before_the_last_conversation_is_read(
    live_ana: httpx.AsyncClient, more_than_sockets_hold: int
) -> None:
    """A slow reader holds the export back: a conversation that is stored only after its first bytes is in it."""
    received = bytearray()
    async with live_ana.stream("GET", PATH, params=LONG) as response:
        chunks = response.aiter_raw()
        received += await anext(chunks)
        late = await new(live_ana)
        await say(live_ana, late, "late")
        await say(live_ana, late, "but not too late", role="assistant")
        await collect(chunks, received)

    lines = read_jsonl(received)
    assert len(lines) == more_than_sockets_hold + 1
    assert lines[-1]["messages"][1]["content"] == "but not too late"


async def test_an_export_that_fails_in_the_middle_breaks_the_connection(
    services: Services, live_ana: httpx.AsyncClient, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CONVERSATIONS_AT_ONCE", 5)
    for _ in range(6):
        await fill(services, ana.id, ["Q", "A"])
    messages = services.conversations.messages
    read, calls = messages.transcripts, []

    async def fails_the_second_time(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError("the connection was closed")
        return await read(*args, **options)

    monkeypatch.setattr(messages, "transcripts", fails_the_second_time)
    received = bytearray()
    async with live_ana.stream("GET", PATH, params=LONG) as response:
        assert response.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
            await collect(response.aiter_raw(), received)
    assert received.count(b"\n") == 5


async def test_a_reader_that_leaves_ends_the_export(
    services: Services, live_ana: httpx.AsyncClient, more_than_sockets_hold: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = asyncio.Event()
    batches = services.conversations.rows.batches

    async def watched(*args: Any, **options: Any) -> Any:
        try:
            async for rows in batches(*args, **options):
                yield rows
        finally:
            closed.set()

    monkeypatch.setattr(services.conversations.rows, "batches", watched)
    async with live_ana.stream("GET", PATH, params=LONG) as response:
        assert await anext(response.aiter_raw())
    async with asyncio.timeout(10):
        await closed.wait()
