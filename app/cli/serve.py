"""`verbatim serve`: the embedded MongoDB, if no other is named, and the API."""

import asyncio
import errno
import gc
import math
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Annotated

import typer
import uvicorn
from fastapi import FastAPI

from app.api.http_protocol import HttpProtocol
from app.api.socket_protocol import SERVER_OPTIONS
from app.bootstrap import KEY_FILE
from app.cli.running import DataOption, opened, read_settings, sentences
from app.config import Settings
from app.kit.logs import configure_logs, logger
from app.kit.streaming import Drain
from app.main import build_app, serve_with
from app.migrations.model import Progress
from app.migrations.runner import Migrations
from app.migrations.starting import server_start
from app.turns.runner import ENDING_SECONDS

LOCAL_ADDRESSES: Mapping[str, str] = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 keys
"""Where a server that listens on every address can be reached from its own machine."""

_PATIENCE_SECONDS = 2.0
"""Who comes early waits so long for migrations, which is enough for a new database; then probes are answered."""

BACKLOG = 2048
"""Connections that may wait to be accepted; the usual 128 makes a crowd that comes at once wait for a second."""


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; 0 picks a free one.  [default: 8000]", show_default=False)
    ] = None,
    data: DataOption = None,
) -> None:
    """Start the API, with an embedded MongoDB unless VERBATIM_MONGO_URI names another."""
    with sentences():
        settings = read_settings(host=host, port=port, data=data)
        configure_logs(settings.log_level, settings.log_format)
        listener = _listen(settings)
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(_serve(settings, listener))
        except KeyboardInterrupt:
            sys.exit(130)
        finally:
            listener.close()


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """uvloop where it exists."""
    try:
        import uvloop  # noqa: PLC0415 not on every platform
    except ImportError:
        return None
    return uvloop.Loop


def _listen(settings: Settings) -> socket.socket:
    """Take the port before anything else is started; who comes early waits until the server is ready."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)  # only this finds out whether another one listens
    except OSError as error:
        listener.close()
        advice = _ADVICE.get(error.errno or 0, "check VERBATIM_HOST or --host")
        print(
            f"verbatim: cannot listen on {settings.host}:{settings.port} ({error.strerror}); {advice}.",
            file=sys.stderr,
        )
        sys.exit(1)
    return listener


_ADVICE: Mapping[int, str] = {
    errno.EADDRINUSE: "stop what uses it, or choose another with --port or VERBATIM_PORT",
    errno.EACCES: "choose a port of 1024 or above with --port or VERBATIM_PORT",
}


async def _serve(settings: Settings, listener: socket.socket) -> None:
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
        await _serve_from(app, server, drain, settings)
    except _StoppedEarly:
        logger.info("stopped_before_serving")
    finally:
        server.should_exit = True
        await server.finish()


async def _serve_from(app: FastAPI, server: "_Server", drain: Drain, settings: Settings) -> None:
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
        _on_signals(stop)
        _welcome(settings, server.port)
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

    _on_signals(stop)
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


def _on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` at every SIGINT and SIGTERM, until the event loop is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)


class _Server(uvicorn.Server):
    """A server that leaves the signals to its caller, also while the services are closed after it."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        super().__init__(config)
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

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


def _welcome(settings: Settings, port: int) -> None:
    host = LOCAL_ADDRESSES.get(settings.host, settings.host)
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    key, where = _admin_key(settings)
    authorization = f'-H "Authorization: Bearer {key}"'
    print(
        f"""
Verbatim   {url}
Docs       {url + "/docs" if settings.docs else "switched off (VERBATIM_DOCS)"}
Admin key  {where}

Try it:
  curl -s {url}/api/users/me {authorization}
  curl -s {url}/api/conversations {authorization} -H 'Content-Type: application/json' -d '{{"title": "First"}}'
  curl -s '{url}/api/messages?q=hello' {authorization}

Ctrl-C stops it.
""",
        flush=True,
    )


def _admin_key(settings: Settings) -> tuple[str, str]:
    """The admin's key as the shell reads it, and in words."""
    if settings.bootstrap_key is not None:
        return "$VERBATIM_BOOTSTRAP_KEY", "the value of VERBATIM_BOOTSTRAP_KEY"
    file = (settings.data / KEY_FILE).absolute()
    if file.exists():
        return f"$(cat {shlex.quote(str(file))})", str(file)
    return "$KEY", "shown when it was made; for another one: verbatim key create"
