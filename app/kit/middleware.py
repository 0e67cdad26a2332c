"""ASGI middleware: a request id on every answer, one log line a request, and no error without a body."""

import asyncio
import re
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kit import metrics
from app.kit.errors import PayloadTooLarge, VerbatimError
from app.kit.logs import begin_request, logger
from app.kit.problems import problem

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")


class RequestContext:
    """Outermost of ours: names the request, logs how it ended, turns an unforeseen exception into a 500 problem."""

    def __init__(self, app: ASGIApp, secrets_in_paths: re.Pattern[str] | None = None) -> None:
        """`secrets_in_paths`: paths of which the first group is not logged."""
        self.app = app
        self.secrets_in_paths = secrets_in_paths

    def _path(self, scope: Scope) -> str:
        """The path as it is logged."""
        path: str = scope["path"]
        found = None if self.secrets_in_paths is None else self.secrets_in_paths.match(path)
        return path if found is None else f"{path[: found.start(1)]}***{path[found.end(1) :]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        id = request_id_of(Headers(scope=scope))
        begin_request(id)
        started = time.perf_counter()
        status = 0
        metrics.requests_running.inc()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            logger.info("client_left", method=scope["method"], path=self._path(scope))
        except Exception:
            logger.exception("unhandled_error", method=scope["method"], path=self._path(scope))
            if status:  # the answer has begun: break it off, so that nobody takes it for complete
                raise
            await problem(VerbatimError(f"The fault is logged under request id {id}."))(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            _count(scope, status, seconds)
            ms = round(seconds * 1000, 1)
            logger.info("request", method=scope["method"], path=self._path(scope), status=status, ms=ms)


def _count(scope: Scope, status: int, seconds: float) -> None:
    """Under the template of its route: a path of its own for each id would be a metric for each."""
    route = template_of(scope)
    method = scope["method"] if scope["method"] in METHODS else "other"
    metrics.requests_running.dec()
    metrics.requests.labels(method, route, status).inc()
    metrics.request_seconds.labels(method, route).observe(seconds)


def template_of(scope: Scope) -> str:
    """The route with its prefix, of which the matched route itself does not know; "none" where nothing matched."""
    path: str | None = getattr(scope.get("route"), "path", None)
    if path is None:
        return "none"
    segments = scope["path"].split("/")
    return "/".join(segments[: len(segments) - path.count("/")]) + path


BODY_SECONDS = 30.0
SLOWEST_BYTES = 4096
"""A body has so many seconds, and one more for each so many bytes of it that have come."""


class BodyLimit:
    """Refuses a body over the limit: at once when its Content-Length says so, otherwise when it has come that far; and
    one that comes too slowly, whose connection others could use."""

    def __init__(self, app: ASGIApp, max_bytes: int, others: Mapping[str, int] = {}) -> None:
        """`others`: the limits of paths that take larger bodies, or smaller ones."""
        self.app = app
        self.max_bytes = max_bytes
        self.others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.others.get(scope["path"], self.max_bytes)
        sentence = f"The body is larger than {limit} bytes."
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdigit() and int(announced) > limit:
            await problem(PayloadTooLarge(sentence))(scope, receive, send)
            return
        received = 0
        is_whole = False
        clock = asyncio.get_running_loop().time
        started: float | None = None

        async def receive_within_limit() -> Message:
            nonlocal received, is_whole, started
            if is_whole:  # what comes now is that the client leaves
                return await receive()
            started = clock() if started is None else started
            try:
                async with asyncio.timeout_at(started + BODY_SECONDS + received / SLOWEST_BYTES):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(408, "The body came too slowly.", {"Connection": "close"}) from error
            is_whole = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, sentence)  # the one error that FastAPI lets through while it reads a body
            return message

        await self.app(scope, receive_within_limit, send)


class HeadRequests:
    """Answers HEAD as GET without the body, for every route: tools ask so before they download.

    A body that is made as it is sent, such as an export, is not made: the response ends with its head.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            elif message["type"] == "http.response.body":
                raise _HeadSent

        with suppress(_HeadSent):
            await self.app({**scope, "method": "GET"}, receive, send_head)


class _HeadSent(Exception):
    """Ends the making of a body that nobody asked for."""


def request_id_of(headers: Headers) -> str:
    """The id that the client has given, or a new one."""
    given = headers.get("x-request-id", "")
    return given if _ACCEPTABLE_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"


def address_of(scope: Scope) -> str:
    """Where a request or a socket comes from; empty when the server does not know."""
    client = scope.get("client")
    return str(client[0]) if client else ""
