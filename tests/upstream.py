"""A real HTTP server that speaks OpenAI's chat completions on loopback and misbehaves on demand.

    async with Upstream() as upstream:
        upstream.base_url                                   # http://127.0.0.1:<port>/v1
        upstream.script["my-model"] = answer(["Hel", "lo"])  # or one of the names in SCRIPT

The model's name in the request chooses the behaviour; an unknown one answers "Hello, world!". Behaviours that wait do
so on `upstream.gate`, never on the clock; leaving the context releases everything.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Self

from aiohttp import web

TOKENS = ("Hello", ", ", "world", "!")
USAGE = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}


class Exchange:
    """One request and the means to answer it."""

    def __init__(self, upstream: "Upstream", request: web.Request, body: dict[str, Any]) -> None:
        self.upstream = upstream
        self.request = request
        self.body = body
        self.headers = dict(request.headers)

    async def begin(self, content_type: str = "text/event-stream") -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type})
        await response.prepare(self.request)
        return response

    async def send(self, packets: Iterable[bytes], content_type: str = "text/event-stream") -> web.StreamResponse:
        response = await self.begin(content_type)
        for packet in packets:
            await response.write(packet)
        await response.write_eof()
        return response

    def abort(self) -> None:
        """Reset the TCP connection."""
        assert self.request.transport is not None
        self.request.transport.abort()


Behaviour = Callable[[Exchange], Awaitable[web.StreamResponse]]


def event(payload: Any, end: str = "\n\n") -> bytes:
    """One server-sent event; `payload` is text as it is, or becomes JSON with every non-ASCII character escaped."""
    return f"data: {payload if isinstance(payload, str) else json.dumps(payload)}{end}".encode()


def chunk(text: str | None = None, *, finish: str | None = None, **extra: Any) -> dict[str, Any]:
    """A `chat.completion.chunk` with one choice; `extra` goes to the top level."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
    } | extra


def completion(text: str | None, *, finish: str = "stop", **extra: Any) -> dict[str, Any]:
    """A whole `chat.completion`."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]} | extra


def raw(*packets: bytes, content_type: str = "text/event-stream") -> Behaviour:
    """These bytes, one write each."""

    async def behave(exchange: Exchange) -> web.StreamResponse:
        return await exchange.send(packets, content_type)

    return behave


def events(*payloads: Any, end: str = "\n\n") -> Behaviour:
    """These payloads as a stream, one write each."""
    return raw(*(event(each, end) for each in payloads))


def answer(
    tokens: Sequence[str] = TOKENS,
    *,
    usage: Mapping[str, Any] | None = USAGE,
    finish: str = "stop",
    paced: bool = False,
) -> Behaviour:
    """A complete answer, streamed or whole as the request asks; `paced`: a token for each `gate.release()`."""

    async def behave(exchange: Exchange) -> web.StreamResponse:
        if not exchange.body.get("stream"):
            return web.json_response(completion("".join(tokens), finish=finish, usage=usage))
        response = await exchange.begin()
        await response.write(event(chunk("", role="assistant")))
        for token in tokens:
            if paced:
                await exchange.upstream.gate.acquire()
            await response.write(event(chunk(token)))
        await response.write(event(chunk(finish=finish)))
        if usage is not None:
            await response.write(event(chunk(usage=usage) | {"choices": []}))
        await response.write(event("[DONE]"))
        await response.write_eof()
        return response

    return behave


def stall(*payloads: Any) -> Behaviour:
    """These events, then silence on an open connection; without events not even a status line."""

    async def behave(exchange: Exchange) -> web.StreamResponse:
        response = web.StreamResponse()
        if payloads:
            response = await exchange.begin()
        for payload in payloads:
            await response.write(event(payload))
        await exchange.upstream.gate.acquire()
        return response

    return behave


def cut(*payloads: Any) -> Behaviour:
    """These events, then a reset connection; without events it is reset before the status line."""

    async def behave(exchange: Exchange) -> web.StreamResponse:
        response = web.StreamResponse()
        if payloads:
            response = await exchange.begin()
        for payload in payloads:
            await response.write(event(payload))
        exchange.abort()
        return response

    return behave


def refuse(status: int, body: Any = None, **headers: str) -> Behaviour:
    """An error; `body` is JSON or bytes, `retry_after="3"` becomes the header `retry-after`."""
    shown = {"error": {"message": f"the upstream says {status}", "code": None}} if body is None else body
    data = shown if isinstance(shown, bytes) else json.dumps(shown).encode()

    async def behave(exchange: Exchange) -> web.StreamResponse:
        return web.Response(
            status=status,
            body=data,
            headers={"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()},
        )

    return behave


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Each request gets the next of these; the last one stays."""
    rest = list(behaviours)

    async def behave(exchange: Exchange) -> web.StreamResponse:
        return await (rest.pop(0) if len(rest) > 1 else rest[0])(exchange)

    return behave


def call_piece(index: int | None = 0, *, id: str | None = None, **function: Any) -> dict[str, Any]:
    """A chunk with one piece of a tool call; `function`: its `name` and its `arguments`."""
    call: dict[str, Any] = {"function": function}
    call |= {} if index is None else {"index": index}
    call |= {} if id is None else {"id": id, "type": "function"}
    return {"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}


def thought(text: str, name: str = "reasoning_content") -> dict[str, Any]:
    """A chunk of reasoning, under one of the names that servers give it."""
    return {"choices": [{"index": 0, "delta": {name: text}, "finish_reason": None}]}


async def endless(exchange: Exchange) -> web.StreamResponse:
    """A token for each `gate.release()`, and no end."""
    response = await exchange.begin()
    while True:
        await response.write(event(chunk("more ")))
        await exchange.upstream.gate.acquire()


HTML = b"<!doctype html>\n<html><body>502: ask your administrator</body></html>\n"

SCRIPT: Mapping[str, Behaviour] = {
    "tokens": answer(),
    "drip": answer(paced=True),
    "length": answer(finish="length"),
    "no-usage": answer(usage=None),
    "usage-in-last-chunk": events(chunk("Hi"), chunk(finish="stop", usage=USAGE), "[DONE]"),
    "no-done": events(chunk("Hi"), chunk(finish="stop")),
    "no-finish": events(chunk("Hi"), "[DONE]"),
    "crlf": events(chunk("Hi"), chunk(finish="stop"), "[DONE]", end="\r\n\r\n"),
    "whole": lambda exchange: exchange.send([json.dumps(completion("Hi", usage=USAGE)).encode()], "application/json"),
    "stall-first": stall(),
    "stall-middle": stall(chunk("Hel")),
    "stall-finished": stall(chunk("Hi"), chunk(finish="stop")),
    "cut-first": cut(),
    "cut-middle": cut(chunk("Hel")),
    "ended-early": events(chunk("Hel")),
    "empty": events(),
    "error-in-stream": events(chunk("Hel"), {"error": {"message": "out of memory", "code": 503}}),
    "429": refuse(429),
    "429-retry-after": refuse(429, retry_after="7"),
    "500": refuse(500),
    "401": refuse(401),
    "garbage": raw(b"\x00\xff\xfe garbage \x80\n" * 9),
    "garbage-json": events("{not json"),
    "html": raw(HTML, content_type="text/html"),
    "huge-line": raw(*[b"data: " + b"x" * 65536] + [b"x" * 65536] * 16),
    "ten-megabytes": raw(b"data: ", *[b"x" * 65536] * 160),
    "endless": endless,
    "tool-call": events(
        call_piece(id="call_1", name="weather", arguments=""),
        call_piece(arguments='{"city": '),
        call_piece(arguments='"Bern"}'),
        chunk(finish="tool_calls", usage=USAGE),
        "[DONE]",
    ),
    "reasoning": events(thought("Let me "), thought("think."), chunk("42"), chunk(finish="stop"), "[DONE]"),
    "cut-thinking": cut(thought("Let me ")),
    "lone-surrogate": events(chunk("a\ud83d"), chunk("b"), chunk(finish="stop"), "[DONE]"),
    "split-surrogates": events(chunk("a\ud83d"), chunk("\ude00b"), chunk(finish="stop"), "[DONE]"),
}


class Upstream:
    """The server. `requests`: what it received; `connections`: how many were opened; `gate`: lets waiting ones go on.

    `arrived` counts requests one by one as they come in, `hung_up` those whose client went away before the end; both
    are semaphores, so that a test awaits them: `await upstream.hung_up.acquire()`.
    """

    def __init__(self) -> None:
        self.script: dict[str, Behaviour] = dict(SCRIPT)
        self.requests: list[Exchange] = []
        self.connections = 0
        self.gate = asyncio.Semaphore(0)
        self.arrived = asyncio.Semaphore(0)
        self.hung_up = asyncio.Semaphore(0)
        self.base_url = ""
        self._seen: set[object] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_post("/v1/chat/completions", self._complete)
        application.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._tasks:
            task.cancel()
        await self._runner.cleanup()

    async def _models(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in self.script]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        exchange = Exchange(self, request, await request.json())
        self.requests.append(exchange)
        self._count_connection(request)
        self.arrived.release()
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            return await self.script.get(exchange.body["model"], answer())(exchange)
        except (asyncio.CancelledError, ConnectionError):
            self.hung_up.release()
            raise
        finally:
            self._tasks.discard(task)

    def _count_connection(self, request: web.Request) -> None:
        if request.protocol not in self._seen:
            self._seen.add(request.protocol)
            self.connections += 1
