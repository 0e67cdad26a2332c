"""ASGI middleware against what browsers and hostile clients could do: security headers, and bounded request heads."""

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kit.errors import HeadersTooLarge, UrlTooLong
from app.kit.problems import problem

SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
"""On every answer that does not say otherwise: nothing of it runs in a browser, is framed, guessed at or kept."""

STRICT_TRANSPORT = "max-age=31536000; includeSubDomains"


class SecurityHeaders:
    """Adds what is missing of SECURITY_HEADERS; answers over TLS say that the next visit shall use it too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if scope["scheme"] == "https":
                    headers.setdefault("Strict-Transport-Security", STRICT_TRANSPORT)
            await send(message)

        await self.app(scope, receive, send_hardened)


class HeadLimit:
    """Refuses a request whose address or headers are longer than any honest one's."""

    def __init__(self, app: ASGIApp, max_url_bytes: int, max_header_bytes: int) -> None:
        self.app = app
        self.max_url_bytes = max_url_bytes
        self.max_header_bytes = max_header_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif len(scope["raw_path"]) + len(scope["query_string"]) > self.max_url_bytes:
            await problem(UrlTooLong(f"The address is longer than {self.max_url_bytes} bytes."))(scope, receive, send)
        elif sum(len(name) + len(value) for name, value in scope["headers"]) > self.max_header_bytes:
            sentence = f"The headers are larger than {self.max_header_bytes} bytes."
            await problem(HeadersTooLarge(sentence))(scope, receive, send)
        else:
            await self.app(scope, receive, send)
