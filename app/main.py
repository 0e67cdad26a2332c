"""The application: its lifespan, middleware and error handlers, and the faces it mounts."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from app import __version__
from app.api.chain import add_middleware
from app.api.docs import OPENAPI_PATH, add_docs
from app.api.openapi import complete_openapi
from app.api.routes import add_routes
from app.bootstrap import ensure_admin
from app.config import Settings
from app.kit.problems import speak_problems
from app.kit.streaming import Drain
from app.log_setup import start_logs
from app.migrations.starting import server_start
from app.services import Services, open_services

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application for any server: it opens the database at start and closes it at the end."""
    settings = settings or Settings()
    start_logs(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services(settings, start=server_start) as services:
            await ensure_admin(services)
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
    drain.then(services.database.primary.lose_patience)
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
        # Its own telemetry would put queries, and the secrets of links, into spans: ours does without (kit/tracing.py).
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    speak_problems(app)
    complete_openapi(app)
    add_middleware(app, settings)
    add_routes(app)
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
