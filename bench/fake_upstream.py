"""A fast upstream in OpenAI's dialect, to be run as a process of its own: `python -m bench.fake_upstream`.

It prints its port. `GET /pace?first=0.2&tokens=40&delay=0.025&every=0` sets how it answers (seconds; `every=1` stamps
each token), `GET /counts` answers {"connections", "requests", "most"} (opened, received, answered at once at the most)
since the last `GET /counts?reset`, `GET /release` ends what is still waiting for its first token.

The first and the last token hold a stamp, `@<request received>,<token sent>@` in nanoseconds of the machine's monotonic
clock: a client beside it can tell the time that whatever lies between has added. Every other token is " token".
"""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qsl

import httptools
import uvloop

_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_BACKLOG = 4096
_NOTHING = {"connections": 0, "requests": 0, "most": 0}


def _chunk(data: str) -> bytes:
    """One event of the stream as a chunk of HTTP."""
    event = f"data: {data}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(event), event)


def _event(choices: list[dict[str, Any]], **more: Any) -> bytes:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "fast"}
    return _chunk(json.dumps({**head, "choices": choices, **more}))


def _token(text: str) -> bytes:
    return _event([{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}])


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 60, "completion_tokens": tokens, "total_tokens": 60 + tokens}


def _stream_tail(tokens: int) -> bytes:
    finish = _event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    return finish + _event([], usage=_usage(tokens)) + _chunk("[DONE]") + b"0\r\n\r\n"


_PLAIN_TOKEN = _token(" token")


@dataclass
class _Upstream:
    """What all connections share: the pace of answers (seconds), and counts."""

    first: float = 0.0
    tokens: int = 40
    delay: float = 0.0
    every: bool = False
    counts: dict[str, int] = field(default_factory=lambda: dict(_NOTHING))
    answering: "set[_Connection]" = field(default_factory=set)
    waiting: "set[_Connection]" = field(default_factory=set)

    def set_pace(self, query: dict[str, str]) -> None:
        self.first = float(query["first"])
        self.tokens = int(query["tokens"])
        self.delay = float(query["delay"])
        self.every = query["every"] == "1"

    def begin(self, connection: "_Connection") -> None:
        self.answering.add(connection)
        self.counts["requests"] += 1
        self.counts["most"] = max(self.counts["most"], len(self.answering))

    def end(self, connection: "_Connection") -> None:
        self.answering.discard(connection)
        self.waiting.discard(connection)

    def release(self) -> None:
        for connection in list(self.waiting):
            connection.release()


class _Connection(asyncio.Protocol):
    """One kept-alive connection; answers one request at a time."""

    def __init__(self, upstream: _Upstream) -> None:
        self._upstream = upstream
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._url = self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)
        self._upstream.counts["connections"] += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's signature
        self._upstream.end(self)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_message_begin(self) -> None:
        self._url = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._received = time.monotonic_ns()
        path, _, query = self._url.decode().partition("?")
        if path == "/pace":
            self._upstream.set_pace(dict(parse_qsl(query)))
            self._reply({})
        elif path == "/counts":
            self._reply(self._upstream.counts)
            if query:
                self._upstream.counts = {**_NOTHING, "most": len(self._upstream.answering)}
        elif path == "/release":
            self._upstream.release()
            self._reply({})
        else:
            self._complete(is_stream=bool(json.loads(self._body).get("stream")))

    def _complete(self, *, is_stream: bool) -> None:
        upstream = self._upstream
        upstream.begin(self)
        if not is_stream:
            self._timer = self._loop.call_later(upstream.first + upstream.delay * (upstream.tokens - 1), self._whole)
        elif upstream.first or upstream.delay:
            at = self._loop.time() + upstream.first
            upstream.waiting.add(self)
            self._timer = self._loop.call_at(at, self._next_token, 0, at)
        else:
            first = _token(self._stamp())
            rest = _PLAIN_TOKEN * (upstream.tokens - 2) + _token(self._stamp()) + _stream_tail(upstream.tokens)
            self._transport.write(_STREAM_HEAD + first + rest)
            upstream.end(self)

    def _next_token(self, number: int, at: float) -> None:
        upstream = self._upstream
        upstream.waiting.discard(self)
        is_first, is_last = number == 0, number == upstream.tokens - 1
        token = _token(self._stamp()) if is_first or is_last or upstream.every else _PLAIN_TOKEN
        head, tail = _STREAM_HEAD if is_first else b"", _stream_tail(upstream.tokens) if is_last else b""
        self._transport.write(head + token + tail)
        if is_last:
            upstream.end(self)
        else:
            at += upstream.delay
            self._timer = self._loop.call_at(at, self._next_token, number + 1, at)

    def release(self) -> None:
        """Do not wait for the first token any longer."""
        if self._timer is not None:
            self._timer.cancel()
        self._next_token(0, self._loop.time())

    def _whole(self) -> None:
        self._upstream.end(self)
        tokens = self._upstream.tokens
        text = self._stamp() + " token" * (tokens - 2) + self._stamp()
        message = {"role": "assistant", "content": text}
        self._reply(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1_700_000_000,
                "model": "fast",
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": _usage(tokens),
            }
        )

    def _stamp(self) -> str:
        return f"@{self._received},{time.monotonic_ns()}@"

    def _reply(self, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self._transport.write(_JSON_HEAD % len(body) + body)


async def _serve() -> None:
    upstream = _Upstream()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(upstream), "127.0.0.1", 0, backlog=_BACKLOG
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
