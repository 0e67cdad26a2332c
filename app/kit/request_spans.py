"""ASGI middleware: a span for each request, named by its route."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kit import tracing
from app.kit.middleware import METHODS, template_of


class RequestSpans:
    """Outermost of all, so that everything else that a request does and logs is part of its trace."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not tracing.is_on():
            await self.app(scope, receive, send)
            return

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start" and span is not None:
                span.set_attribute("http.response.status_code", message["status"])
                if message["status"] >= 500:
                    tracing.fail(span, str(message["status"]))
            await send(message)

        with tracing.request(Headers(scope=scope)) as span:
            try:
                await self.app(scope, receive, send_and_note)
            finally:
                if span is not None:
                    method = scope["method"] if scope["method"] in METHODS else "_OTHER"
                    route = template_of(scope)
                    span.update_name(f"{method} {route}")
                    span.set_attributes({"http.request.method": method, "http.route": route})
