"""Every way in which an upstream fails is one stable code and one sentence that may be shown."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from app.llm import openai_compatible
from app.llm.openai_compatible import OpenAICompatible
from app.llm.provider import Chunk, ProviderError, TextDelta
from tests.llm.conftest import Connect, ask
from tests.upstream import Behaviour, Exchange, Upstream, chunk, cut, event, events, raw, refuse, stall

KEY = "sk-very-secret-0123456789"


async def fail(provider: OpenAICompatible, model: str) -> tuple[str, ProviderError]:
    """The text that came before the error, and the error."""
    chunks: list[Chunk] = []
    with pytest.raises(ProviderError) as raised:
        await _collect_into(chunks, provider, model)
    error = raised.value
    assert error.message.startswith("fake ")
    assert "\n" not in error.message
    assert len(error.message) < 320
    assert KEY not in error.message
    error.message.encode()
    assert all(isinstance(each, TextDelta) for each in chunks)
    return "".join(each.text for each in chunks if isinstance(each, TextDelta)), error


async def _collect_into(chunks: list[Chunk], provider: OpenAICompatible, model: str) -> None:
    async with aclosing(provider.stream(ask(model))) as stream:
        async for each in stream:
            chunks.append(each)  # noqa: PERF401 - a comprehension would lose what came before the error


@pytest.mark.parametrize(
    ("model", "text", "code", "status", "retryable"),
    [
        ("cut-first", "", "upstream_cut", None, True),
        ("cut-middle", "Hel", "upstream_cut", None, True),
        ("ended-early", "Hel", "upstream_cut", None, True),
        ("empty", "", "upstream_cut", None, True),
        ("error-in-stream", "Hel", "upstream_failed", 503, True),
        ("429", "", "upstream_rate_limited", 429, True),
        ("500", "", "upstream_failed", 500, True),
        ("401", "", "upstream_rejected", 401, False),
        ("garbage", "", "upstream_invalid", None, False),
        ("garbage-json", "", "upstream_invalid", None, False),
        ("html", "", "upstream_invalid", None, False),
        ("huge-line", "", "upstream_invalid", None, False),
    ],
)
async def test_known_failures(
    provider: OpenAICompatible, *, model: str, text: str, code: str, status: int | None, retryable: bool
) -> None:
    received, error = await fail(provider, model)
    assert (received, error.code, error.status, error.retryable) == (text, code, status, retryable)
    assert error.retry_after is None


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (301, "upstream_invalid"),
        (400, "upstream_rejected"),
        (403, "upstream_rejected"),
        (404, "upstream_rejected"),
        (408, "upstream_timeout"),
        (413, "upstream_rejected"),
        (502, "upstream_failed"),
        (503, "upstream_failed"),
        (504, "upstream_failed"),
    ],
)
async def test_statuses(upstream: Upstream, provider: OpenAICompatible, status: int, code: str) -> None:
    upstream.script["refuse"] = refuse(status, location=upstream.base_url)
    _, error = await fail(provider, "refuse")
    assert (error.code, error.status) == (code, status)
    assert str(status) in error.message
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("body", "quoted"),
    [
        ({"error": {"message": "context is too long"}}, "context is too long"),
        ({"error": "context is too long"}, "context is too long"),
        ({"object": "error", "message": "context is too long"}, "context is too long"),
        ({"detail": "context is too long"}, "context is too long"),
        ({"error": {"message": f"bad key {KEY} here"}}, "bad key *** here"),
        ({"error": {"message": "a\n\tb\x00c \ud83d"}}, "a b c \ufffd"),
        ({"error": {"message": "x" * 10_000}}, "x" * 199 + "…"),
        ({"error": {"message": f"{'x' * 190}{KEY}"}}, "x" * 190 + "***"),
        ({"detail": [{"loc": ["body"]}]}, "."),
        ([1], "."),
        (b"<html>nginx</html>", "."),
        (b"[" * 50_000, "."),
        (b"x" * 1_000_000, "."),
        (b"", "."),
    ],
)
async def test_the_upstreams_own_words_are_quoted_safely(
    upstream: Upstream, connect: Connect, body: Any, quoted: str
) -> None:
    upstream.script["refuse"] = refuse(400, body)
    _, error = await fail(connect(api_key=KEY), "refuse")
    assert error.message == f"fake rejected the request (400){quoted if quoted == '.' else ': ' + quoted}"


async def test_credentials_are_never_quoted(upstream: Upstream, connect: Connect) -> None:
    upstream.script["refuse"] = refuse(401, {"error": {"message": f"Incorrect API key provided: {KEY[:9]}****"}})
    _, error = await fail(connect(api_key=KEY), "refuse")
    assert error.message == "fake refused our credentials (401)."
    upstream.script["stream"] = events({"error": {"message": f"key {KEY}", "code": "invalid_api_key"}})
    _, error = await fail(connect(api_key=KEY), "stream")
    assert error.message == "fake failed: key ***"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "-3"}, 0.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after_ms": "250", "retry_after": "7"}, 0.25),
        ({"retry_after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
    ],
)
async def test_retry_after(
    upstream: Upstream, provider: OpenAICompatible, headers: dict[str, str], seconds: float | None
) -> None:
    upstream.script["busy"] = refuse(429, **headers)
    assert (await fail(provider, "busy"))[1].retry_after == seconds


async def test_retry_after_as_a_date(upstream: Upstream, provider: OpenAICompatible) -> None:
    upstream.script["busy"] = refuse(
        503, retry_after=format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    )
    seconds = (await fail(provider, "busy"))[1].retry_after
    assert seconds is not None
    assert 3500 < seconds <= 3600


ODD: dict[str, tuple[Behaviour, str]] = {
    "choices are no list": (events({"choices": {"a": 1}}), "upstream_invalid"),
    "a choice is no object": (events({"choices": ["a"]}), "upstream_invalid"),
    "a delta is no object": (events({"choices": [{"delta": "a"}]}), "upstream_invalid"),
    "content is no text": (events({"choices": [{"delta": {"content": [1]}}]}), "upstream_invalid"),
    "an event is no object": (events([1]), "upstream_invalid"),
    "an event is nested too deeply": (events("[" * 100_000), "upstream_invalid"),
    "a number has too many digits": (events('{"n":' + "9" * 9999 + "}"), "upstream_invalid"),
    "the stream ends in the middle of an event": (raw(event(chunk("a"))[:-9]), "upstream_cut"),
    "an error as text": (events({"error": "no memory"}), "upstream_failed"),
    "an error that is the client's": (events({"error": {"message": "too long", "code": 400}}), "upstream_rejected"),
    "an error as JSON": (raw(b'{"error":{"code":429}}', content_type="application/json"), "upstream_rate_limited"),
    "an unrelated JSON": (raw(b'{"status":"ok"}', content_type="application/json; charset=utf-8"), "upstream_invalid"),
    "a JSON cut short": (raw(b'{"choices":[{"mess', content_type="application/json"), "upstream_invalid"),
    "a JSON that is too large": (raw(*[b" " * 65536] * 33, content_type="application/json"), "upstream_invalid"),
}


@pytest.mark.parametrize("name", ODD)
async def test_odd_answers(upstream: Upstream, provider: OpenAICompatible, name: str) -> None:
    upstream.script["odd"], code = ODD[name]
    assert (await fail(provider, "odd"))[1].code == code


@pytest.mark.parametrize(
    ("model", "settings", "text", "words"),
    [
        ("stall-first", {"first_token_timeout": 0.05}, "", "no first token within 0.05 s"),
        ("stall-role", {"first_token_timeout": 0.05}, "", "no first token within 0.05 s"),
        ("stall-pings", {"first_token_timeout": 0.05}, "", "no first token within 0.05 s"),
        ("stall-middle", {"idle_timeout": 0.05}, "Hel", "nothing more for 0.05 s"),
        ("stall-reasoning", {"idle_timeout": 0.05}, "", "nothing more for 0.05 s"),
        ("stall-middle", {"total_timeout": 0.1}, "Hel", "did not finish its answer within 0.1 s"),
    ],
)
async def test_timeouts_say_which(
    upstream: Upstream, connect: Connect, *, model: str, settings: dict[str, float], text: str, words: str
) -> None:
    upstream.script["stall-role"] = stall(chunk("", role="assistant"))
    upstream.script["stall-pings"] = stall("\n: ping\n: ping")
    upstream.script["stall-reasoning"] = stall({"choices": [{"delta": {"reasoning_content": "hmm"}}]})
    received, error = await fail(connect(**settings), model)
    assert (received, error.code, error.retryable) == (text, "upstream_timeout", True)
    assert words in error.message
    await upstream.hung_up.acquire()


async def test_a_slow_consumer_is_not_the_upstreams_idleness(upstream: Upstream, connect: Connect) -> None:
    upstream.script["two"] = events(chunk("a"), chunk("b"), chunk(finish="stop"), "[DONE]")
    seen: list[Chunk] = []
    async for each in connect(idle_timeout=0.05).stream(ask("two")):
        seen.append(each)
        await asyncio.sleep(0.08)
    assert [type(each).__name__ for each in seen] == ["TextDelta", "TextDelta", "Finish"]


async def test_a_stalled_explanation_does_not_hide_the_status(
    upstream: Upstream, provider: OpenAICompatible, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def behave(exchange: Exchange) -> web.StreamResponse:
        response = web.StreamResponse(status=500)
        await response.prepare(exchange.request)
        await exchange.upstream.gate.acquire()
        return response

    monkeypatch.setattr(openai_compatible, "_EXPLANATION_SECONDS", 0.05)
    upstream.script["slow-500"] = behave
    assert (await fail(provider, "slow-500"))[1].message == "fake failed (500)."


@asynccontextmanager
async def tcp_server(reply: bytes | None) -> AsyncIterator[int]:
    """Accepts connections; answers every one with `reply`, or with silence."""
    released = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if reply is None:
            await released.wait()
        else:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        released.set()
        server.close()
        await server.wait_closed()


async def test_nobody_listens(connect: Connect) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        _, error = await fail(connect(base_url=f"http://127.0.0.1:{bound.getsockname()[1]}/v1"), "m")
    assert (error.code, error.message, error.retryable) == ("upstream_unreachable", "fake cannot be reached.", True)


async def test_connecting_takes_too_long(connect: Connect) -> None:
    async with tcp_server(None) as port:
        # The TLS handshake is part of connecting, and this server never answers it.
        provider = connect(base_url=f"https://127.0.0.1:{port}/v1", connect_timeout=0.05)
        _, error = await fail(provider, "m")
    assert (error.code, error.message) == ("upstream_timeout", "fake could not be connected to within 0.05 s.")


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (b"SSH-2.0-OpenSSH_9.0\r\n", "upstream_invalid"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", "upstream_invalid"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ndata: x", "upstream_cut"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", "upstream_invalid"),
        (b"", "upstream_cut"),
    ],
)
async def test_broken_http(connect: Connect, reply: bytes, code: str) -> None:
    async with tcp_server(reply) as port:
        _, error = await fail(connect(base_url=f"http://127.0.0.1:{port}/v1"), "m")
    assert error.code == code


async def test_a_compressed_answer_is_read_although_none_was_asked_for(connect: Connect) -> None:
    body = gzip.compress(event(chunk("Hi", finish="stop")))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with tcp_server(head + body) as port:
        first = await anext(connect(base_url=f"http://127.0.0.1:{port}/v1").stream(ask("m")))
    assert first == TextDelta("Hi")


async def test_an_error_keeps_the_text_before_it(upstream: Upstream, provider: OpenAICompatible) -> None:
    texts = [f"{i} " for i in range(50)]
    upstream.script["late"] = raw(
        b"".join(event(chunk(text)) for text in texts) + b"data: " + json.dumps("x").encode() + b"\n\n"
    )
    received, error = await fail(provider, "late")
    assert (received, error.code) == ("".join(texts), "upstream_invalid")
    upstream.script["late-cut"] = cut(*(chunk(text) for text in texts))
    received, error = await fail(provider, "late-cut")
    assert "".join(texts).startswith(received)
    assert error.code == "upstream_cut"
