"""The application: its lifespan, middleware and error handlers, and the faces it mounts."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from app import __version__
from app.api import (
    audit,
    auth,
    conversations,
    erasures,
    export_schedules,
    exports,
    health,
    holds,
    hooks,
    imports,
    keys,
    messages,
    metrics,
    personal_data,
    retention,
    search,
    sharing,
    socket,
    stats,
    training,
    turns,
    users,
    webhook_events,
    webhooks,
)
from app.api.audit_trail import AuditTrail
from app.api.authentication import Authentication
from app.api.docs import OPENAPI_PATH, add_docs
from app.api.openapi_security import document_credentials
from app.api.rate_limits import RateLimiting
from app.audit import keeping
from app.bootstrap import ensure_admin
from app.config import Settings
from app.conversations import text_index
from app.kit.hardening import HeadLimit, SecurityHeaders
from app.kit.logs import configure_logs
from app.kit.middleware import BodyLimit, HeadRequests, RequestContext
from app.kit.problems import speak_problems
from app.kit.streaming import Drain
from app.services import Services, open_services

MAX_URL_BYTES = 16 * 1024
MAX_HEADER_BYTES = 32 * 1024
CORS: Mapping[str, Any] = {
    "allow_methods": ["GET", "POST", "PUT", "PATCH", "DELETE"],
    "allow_headers": [
        *("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID"),
        "X-Request-Id",
    ],
    "expose_headers": [
        *("Content-Disposition", "ETag", "Link", "Location", "RateLimit", "RateLimit-Policy", "Retry-After"),
        *("WWW-Authenticate", "X-Request-Id"),
    ],
    "max_age": 600,
}
"""What pages of allowed origins may send and read. There are no cookies, so no credentials to allow."""

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
RESOURCES = (
    conversations,
    messages,
    turns,
    users,
    keys,
    search,
    stats,
    exports,
    export_schedules,
    imports,
    training,
    socket,
    webhooks,
    hooks,
    sharing,
    auth,
    audit,
    personal_data,
    holds,
    erasures,
    retention,
)  # the busiest first: routes are matched in this order


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application for any server: it opens the database at start and closes it at the end."""
    settings = settings or Settings()
    configure_logs(settings.log_level, settings.log_format)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services(settings) as services:
            await ensure_admin(services)
            await text_index.settle(services.search.text_language)
            await keeping.settle(settings.audit_days)
            serve_with(app, services, Drain())
            _drain_on_signals(app.state.drain)
            yield

    return build_app(settings, lifespan)


def serve_with(app: FastAPI, services: Services, drain: Drain) -> None:
    """Let the application answer from these services until `drain` begins."""
    app.state.services = services
    app.state.drain = drain
    services.open()
    runner = services.turns.runner
    drain.then(lambda: runner.stop(services.settings.drain_timeout))
    drain.then(services.rooms.stop)
    drain.then(services.exports.jobs.stop)
    drain.then(services.imports.jobs.stop)


def build_app(settings: Settings, lifespan: Lifespan | None = None) -> FastAPI:
    """The routes; `serve_with` gives them something to answer from."""
    app = FastAPI(
        title="Verbatim",
        summary="People and their conversations with language models, word for word.",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=OPENAPI_PATH if settings.docs else None,
        redirect_slashes=False,
    )
    speak_problems(app)
    document_credentials(app)
    app.add_middleware(AuditTrail)
    app.add_middleware(HeadRequests)
    app.add_middleware(Authentication)
    app.add_middleware(RateLimiting)
    larger = {f"/api{imports.PATH}": settings.import_max_bytes}
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, others=larger)
    app.add_middleware(HeadLimit, max_url_bytes=MAX_URL_BYTES, max_header_bytes=MAX_HEADER_BYTES)
    if settings.allowed_origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.allowed_origins, **CORS)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestContext, secrets_in_paths=sharing.LINK_PATH)
    for module in RESOURCES:
        app.include_router(module.routes, prefix="/api")
    app.include_router(sharing.public, prefix="/api")
    app.include_router(health.routes)
    app.include_router(metrics.routes)
    app.webhooks.include_router(webhook_events.told)
    if settings.docs:
        add_docs(app)
    return app


def _drain_on_signals(drain: Drain) -> None:
    """Drain when the server is told to stop; the server's own handler, which was there before, still runs."""
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        previous = signal.getsignal(number)
        if not callable(previous):
            continue  # the server does not handle it: then it ends the process, and nobody can drain

        def handle(signum: int, frame: Any, previous: Callable[[int, Any], Any] = previous) -> None:
            loop.call_soon_threadsafe(drain.start)
            previous(signum, frame)

        signal.signal(number, handle)
