"""`verbatim serve`: the embedded MongoDB, if no other is named, and the API."""

import asyncio
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
import uvicorn

from app.bootstrap import KEY_FILE
from app.cli.running import DataOption, opened, read_settings, sentences
from app.config import Settings
from app.kit.logs import configure_logs
from app.kit.streaming import Drain
from app.main import build_app, serve_with


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
    """Take the port before anything else is started."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        print(
            f"verbatim: cannot listen on {settings.host}:{settings.port} ({error.strerror}); "
            "stop what uses it, or choose another with --port or VERBATIM_PORT.",
            file=sys.stderr,
        )
        sys.exit(1)
    return listener


async def _serve(settings: Settings, listener: socket.socket) -> None:
    app = build_app(settings)
    drain = Drain()
    config = uvicorn.Config(
        app,
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.drain_timeout) or 1,
    )
    async with opened(settings) as services:
        serve_with(app, services, drain)
        _welcome(settings, listener.getsockname()[1])
        await _Server(config, drain).serve(sockets=[listener])


class _Server(uvicorn.Server):
    """A server that ends open streams when it is told to stop, and leaves the process to its caller."""

    def __init__(self, config: uvicorn.Config, drain: Drain) -> None:
        super().__init__(config)
        self._drain = drain

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        self.force_exit = self.should_exit  # a second signal does not wait
        self.should_exit = True
        self._drain.start()


def _welcome(settings: Settings, port: int) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{'127.0.0.1' if settings.host in {'0.0.0.0', ''} else host}:{port}"  # noqa: S104 what to show, not what to bind
    key_file = settings.data / KEY_FILE
    key, where = f"$(cat {key_file})", str(key_file)
    if settings.bootstrap_key is not None:
        key, where = "$VERBATIM_BOOTSTRAP_KEY", "the value of VERBATIM_BOOTSTRAP_KEY"
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
