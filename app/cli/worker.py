"""One of several processes that serve the same socket: `python -m app.cli.worker ORDER`, started by the supervisor.

It says on its control socket that it is ready, and stops when the other end is closed: then the supervisor has died.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Callable

from app.cli import serving
from app.cli.orders import READY, Order
from app.cli.running import read_settings, sentences
from app.log_setup import start_logs


def main(text: str) -> None:
    """Serve as ordered."""
    order = Order.decode(text)
    control = socket.socket(fileno=order.control)
    control.setblocking(False)
    with sentences(), socket.socket(fileno=order.listener) as listener:
        settings = read_settings(**order.options)
        start_logs(settings, worker=order.number)
        listener.setblocking(False)

        def when_ready(stop: Callable[[], None]) -> None:
            loop = asyncio.get_running_loop()

            def supervisor_died() -> None:
                loop.remove_reader(control)
                stop()

            loop.add_reader(control, supervisor_died)
            os.write(control.fileno(), READY)

        serving.run(settings, listener, when_ready)


if __name__ == "__main__":
    main(sys.argv[1])
