"""One process that serves: the API on a socket that listens already, until it is told to stop."""

import asyncio
import gc
import math
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import uvicorn

from app.api.http_protocol import HttpProtocol
from app.api.socket_protocol import SERVER_OPTIONS
from app.bootstrap import settle_indexes
from app.cli.running import opened
from app.config import Settings
from app.kit import metrics
from app.kit.streaming import Drain
from app.main import build_app, serve_with
from app.turns.runner import ENDING_SECONDS


def run(settings: Settings, listener: socket.socket, when_ready: Callable[[Callable[[], None]], None]) -> None:
    """Serve until SIGTERM or SIGINT. `when_ready` is called when requests are about to be accepted, with what stops
    the server: called once it drains, called again it does not wait."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(settings, listener, when_ready))


def loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """uvloop where it exists."""
    try:
        import uvloop  # noqa: PLC0415 not on every platform
    except ImportError:
        return None
    return uvloop.Loop


async def _serve(settings: Settings, listener: socket.socket, when_ready: Callable[[Callable[[], None]], None]) -> None:
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
    server = _Server(config)
    async with opened(settings) as services:
        await settle_indexes(services)
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
        await server.serve(sockets=[listener])


def on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` at every SIGINT and SIGTERM, until the event loop is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)


class _Server(uvicorn.Server):
    """A server that leaves the signals to its caller, also while the services are closed after it."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()
