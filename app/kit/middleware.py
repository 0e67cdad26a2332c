"""ASGI middleware: a request id on every answer, one log line a request, and no error without a body."""

import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kit.errors import VerbatimError
from app.kit.logs import begin_request, logger
from app.kit.problems import problem

_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")


class RequestContext:
    """Outermost of ours: names the request, logs how it ended, turns an unforeseen exception into a 500 problem."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        id = _request_id(Headers(scope=scope))
        begin_request(id)
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            logger.exception("unhandled_error", method=scope["method"], path=scope["path"])
            if status:  # the answer has begun: break it off, so that nobody takes it for complete
                raise
            await problem(VerbatimError(f"The fault is logged under request id {id}."))(scope, receive, send_with_id)
        finally:
            elapsed = round((time.perf_counter() - started) * 1000, 1)
            logger.info("request", method=scope["method"], path=scope["path"], status=status, ms=elapsed)


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _ACCEPTABLE_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
