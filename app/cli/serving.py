"""One process that serves: the API on a socket that listens already, until it is told to stop."""

import asyncio
import gc
import math
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import uvicorn
from fastapi import FastAPI

from app.api.http_protocol import HttpProtocol
from app.api.socket_protocol import SERVER_OPTIONS
from app.cli.running import opened
from app.config import Settings
from app.kit import metrics
from app.kit.logs import logger
from app.kit.streaming import Drain
from app.main import build_app, serve_with
from app.migrations.model import Progress
from app.migrations.runner import Migrations
from app.migrations.starting import server_start
from app.turns.runner import ENDING_SECONDS

_PATIENCE_SECONDS = 2.0
"""Who comes early waits so long for migrations, which is enough for a new database; then probes are answered."""

WhenReady = Callable[[Callable[[], None]], None]


def run(settings: Settings, listener: socket.socket, when_ready: WhenReady) -> None:
    """Serve until SIGTERM or SIGINT. `when_ready` is called when requests are about to be served, with what stops the
    server: called once it drains, called again it does not wait."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(settings, listener, when_ready))


def loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """uvloop where it exists."""
    try:
        import uvloop  # noqa: PLC0415 not on every platform
    except ImportError:
        return None
    return uvloop.Loop


async def _serve(settings: Settings, listener: socket.socket, when_ready: WhenReady) -> None:
    app, drain = build_app(settings), Drain()
    config = uvicorn.Config(
        app,
        http=HttpProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=settings.trusted_proxies,
        limit_concurrency=settings.max_connections,
        **SERVER_OPTIONS,
        # Turns are interrupted at the drain timeout, and whoever waits for one must still get its answer.
        timeout_graceful_shutdown=math.ceil(settings.drain_timeout + ENDING_SECONDS),
    )
    server = _Server(config, listener)
    try:
        await _serve_from(app, server, drain, settings, when_ready)
    except _StoppedEarly:
        logger.info("stopped_before_serving")
    finally:
        server.should_exit = True
        await server.finish()


async def _serve_from(app: FastAPI, server: "_Server", drain: Drain, settings: Settings, when_ready: WhenReady) -> None:
    async with opened(settings, start=partial(_migrate, app, server)) as services:
        serve_with(app, services, drain)
        runner = services.turns.runner

        def stop() -> None:
            server.force_exit = server.should_exit  # a second signal does not wait
            server.should_exit = True
            drain.start()
            if server.force_exit:
                runner.stop()

        gc.collect()
        gc.freeze()  # what the start has made stays: it need not be looked through again and again
        on_signals(stop)
        metrics.starts.inc()
        when_ready(stop)
        await server.run_to_end()


async def _migrate(app: FastAPI, server: "_Server", migrations: Migrations, settings: Settings) -> None:
    """Do or await migrations. When that takes long, the server says meanwhile that it lives and is not ready."""

    def report(progress: Progress) -> None:
        step = progress.step
        app.state.starting = f": migration {progress.migration}, {step.done:,} of {step.total:,}"

    work = asyncio.ensure_future(server_start(migrations, settings, report))

    def stop() -> None:
        server.should_exit = True  # also when the work is done and the server about to begin
        work.cancel()

    on_signals(stop)
    try:
        await asyncio.wait({work}, timeout=_PATIENCE_SECONDS)
        if not work.done():
            server.begin()
            await asyncio.wait({work})
    finally:
        work.cancel()
    if work.cancelled():
        raise _StoppedEarly
    await work


class _StoppedEarly(Exception):
    """The server was told to stop before it could serve."""


def on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` at every SIGINT and SIGTERM, until the event loop is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)


class _Server(uvicorn.Server):
    """A server that leaves the signals to its caller, also while the services are closed after it."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        super().__init__(config)
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Answer whoever comes, from now on, in a task of its own."""
        if self._task is None:
            self._task = asyncio.create_task(self.serve(sockets=[self._listener]), name="server")

    async def run_to_end(self) -> None:
        """Serve until the server is told to exit."""
        self.begin()
        await self.finish()

    async def finish(self) -> None:
        """Return when nobody is answered any more, if anybody ever was."""
        if self._task is not None:
            await self._task

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()
