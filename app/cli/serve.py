"""`verbatim serve`: the embedded MongoDB, if no other is named, and the API."""

import asyncio
import errno
import shlex
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from app.bootstrap import KEY_FILE
from app.cli import serving
from app.cli.running import DataOption, read_settings, sentences
from app.cli.supervisor import Supervisor
from app.config import Settings
from app.log_setup import log_output, start_logs

LOCAL_ADDRESSES: Mapping[str, str] = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 keys
"""Where a server that listens on every address can be reached from its own machine."""

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
    workers: Annotated[
        int | None, typer.Option(help="Processes that share the port.  [default: 1]", show_default=False)
    ] = None,
) -> None:
    """Start the API, with an embedded MongoDB unless VERBATIM_MONGO_URI names another."""
    options = {"host": host, "port": port, "data": None if data is None else str(data), "workers": workers}
    given = {name: value for name, value in options.items() if value is not None}
    with sentences():
        settings = read_settings(**given)
        start_logs(settings, worker=0 if settings.workers > 1 else None)
        listener = _listen(settings)
        try:
            port = listener.getsockname()[1]
            if settings.workers > 1:
                sys.exit(_supervise(settings, listener, given, lambda: _welcome(settings, port)))
            serving.run(settings, listener, lambda _: _welcome(settings, port))
        except KeyboardInterrupt:
            sys.exit(130)
        finally:
            listener.close()


def _supervise(
    settings: Settings, listener: socket.socket, options: Mapping[str, str | int], welcome: Callable[[], None]
) -> int:
    """Several worker processes; answers the exit status."""

    async def run() -> int:
        return await Supervisor(settings, listener, options, welcome).run()

    return asyncio.run(run())


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
        file=sys.stderr if log_output(settings) == "stdout" else sys.stdout,
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
