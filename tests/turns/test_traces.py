"""One trace from a client's request over the database to the upstream, without a word of what was said."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from pydantic import SecretStr

from app.config import Settings
from app.database import Database, open_database, prepare
from app.kit.streaming import Drain
from app.kit.trace_export import traced_by
from app.main import build_app, serve_with
from app.services import Services, build_services
from tests.conftest import client_of, make_person
from tests.turns.conftest import ended, new_conversation
from tests.turns.test_queued_turns import until_waiting
from tests.upstream import TOKENS, Upstream

pytestmark = pytest.mark.mongod

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACED = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
WORDS = "what-only-the-database-knows"


@pytest.fixture
async def exporter() -> AsyncIterator[InMemorySpanExporter]:
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    async with traced_by(provider):
        yield memory


@pytest.fixture
async def services(
    exporter: InMemorySpanExporter, settings: Settings, mongo_uri: str, empty_database: Database
) -> AsyncIterator[Services]:
    """Services over a client of their own, which tells of its commands."""
    traced = settings.model_copy(update={"mongo_uri": SecretStr(mongo_uri), "search_builder": False})
    async with open_database(traced) as database:
        built = build_services(traced, database)
        yield built
        await built.aclose()
    await prepare(empty_database.client, empty_database.name)


@pytest.fixture
async def client(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(services.settings.model_copy(update={"otel_endpoint": "http://127.0.0.1:4318"}))
    serve_with(app, services, Drain())
    async with client_of(app, await make_person(services, "ana")) as each:
        yield each


def _named(spans: list[ReadableSpan], name: str) -> ReadableSpan:
    (span,) = [each for each in spans if each.name == name]
    return span


def _ids(span: ReadableSpan) -> tuple[str, str]:
    assert span.context is not None
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def _parent(span: ReadableSpan) -> str | None:
    return None if span.parent is None else f"{span.parent.span_id:016x}"


async def test_one_request_is_one_trace_to_the_database_and_upstream(
    client: httpx.AsyncClient, services: Services, exporter: InMemorySpanExporter, upstream: Upstream
) -> None:
    conversation = await new_conversation(client, title=WORDS)
    exporter.clear()
    body = {"content": WORDS, "model": "local:tokens"}
    answer = await client.post(f"{conversation}/turns?q={WORDS}", json=body, headers=TRACED)
    assert answer.status_code == 422  # the query is not known, and in no span
    answer = await client.post(f"{conversation}/turns", json=body, headers=TRACED)
    assert answer.json()["state"] == "completed", answer.text
    await ended(services, f"/{answer.json()['id']}")

    spans = [each for each in exporter.get_finished_spans() if _ids(each)[0] == TRACE]
    refused, request = [each for each in spans if each.kind is SpanKind.SERVER]
    turn, call = _named(spans, "turn"), _named(spans, "POST local")
    commands = [each for each in spans if (each.attributes or {}).get("db.system.name") == "mongodb"]
    assert request.name == "POST /api/conversations/{id}/turns"
    assert (_parent(request), _parent(turn), _parent(call)) == (CALLER, _ids(request)[1], _ids(turn)[1])
    assert [f"{each.context.span_id:016x}" for each in turn.links] == [_ids(request)[1]]
    assert {"insert messages", "insert turns", "commitTransaction"} <= {each.name for each in commands}
    assert {_parent(each) for each in commands} <= {_ids(each)[1] for each in (refused, request, turn)}
    assert _ids(turn)[1] in {_parent(each) for each in commands}  # its end
    (asked,) = upstream.requests
    assert asked.headers["traceparent"] == f"00-{TRACE}-{_ids(call)[1]}-01"
    assert (turn.attributes or {})["verbatim.turn.state"] == "completed"
    assert (request.attributes or {})["http.response.status_code"] == 201
    shown = " ".join(each.to_json() for each in exporter.get_finished_spans())
    for secret in (WORDS, client.headers["authorization"].removeprefix("Bearer "), "sk-upstream", "".join(TOKENS)):
        assert secret not in shown


async def test_a_call_that_fails_is_a_span_that_failed(
    client: httpx.AsyncClient, services: Services, exporter: InMemorySpanExporter, upstream: Upstream
) -> None:
    conversation = await new_conversation(client)
    answer = await client.post(f"{conversation}/turns", json={"content": WORDS, "model": "hasty:stall-first"})
    assert answer.status_code == 502

    call = _named(list(exporter.get_finished_spans()), "POST hasty")
    assert call.status.status_code is StatusCode.ERROR
    assert (call.attributes or {})["error.type"] == "upstream_timeout"
    assert call.events == ()  # which would hold messages


async def test_a_turn_that_waited_is_in_no_trace_of_the_one_before(
    client: httpx.AsyncClient, exporter: InMemorySpanExporter, upstream: Upstream
) -> None:
    conversation = await new_conversation(client)
    first = asyncio.create_task(
        client.post(f"{conversation}/turns", json={"content": "1", "model": "local:drip"}, headers=TRACED)
    )
    await upstream.arrived.acquire()
    body = {"content": "2", "model": "local:tokens", "when_busy": "enqueue"}
    second = asyncio.create_task(client.post(f"{conversation}/turns", json=body))
    await until_waiting(1)
    for _ in TOKENS:
        upstream.gate.release()
    answers = await asyncio.gather(first, second)

    assert {each.json()["state"] for each in answers} == {"completed"}
    turns = [each for each in exporter.get_finished_spans() if each.name == "turn"]
    assert [_ids(each)[0] == TRACE for each in turns] == [True, False]
    assert (_parent(turns[1]), list(turns[1].links)) == (None, [])
