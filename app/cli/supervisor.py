"""Several worker processes on one socket: started, started again when they die, and stopped together.

The socket is bound once and shared, not one of each worker's own (SO_REUSEPORT): who waits to be accepted when a worker
dies is accepted by another. Workers are processes of their own, not forks, in process groups of their own: Ctrl-C in a
terminal is the supervisor's alone, which tells them once. It holds a share in the embedded mongod from before the first
worker until after the last, so that mongod is stopped last.
"""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from app.cli.orders import Order
from app.cli.serving import on_signals
from app.config import Settings
from app.kit.logs import logger
from app.kit.worker_metrics import FOLDER, WORKER, forget, register
from app.mongod import EmbeddedMongod, find_mongod
from app.turns.runner import ENDING_SECONDS

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 30.0
SETTLED_SECONDS = 30.0
"""Seconds of life after which a worker's death counts as its first."""
CLOSING_SECONDS = 15.0
"""What a worker may take to close what is open, after the drain timeout and the ends of its turns; then killed."""


_TOLD = (0, -signal.SIGTERM)
"""How a worker ends that was told to; the second one had not begun to listen."""
_SOURCE = str(Path(__file__).resolve().parents[2])


@dataclass(frozen=True)
class _Worker:
    process: asyncio.subprocess.Process
    control: socket.socket

    async def is_ready(self) -> bool:
        """Whether it serves, as soon as that is known; False when it has ended before."""
        heard = await asyncio.get_running_loop().sock_recv(self.control, 16)
        return bool(heard)


class Supervisor:
    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        options: Mapping[str, str | int],
        welcome: Callable[[], None],
    ) -> None:
        """`options`: those of the command line; `welcome`: called when the first worker serves."""
        self._settings = settings
        self._listener = listener
        self._options = dict(options)
        self._welcome = welcome
        self._living: dict[int, _Worker] = {}
        self._stopping = asyncio.Event()
        self._has_failed = False
        self._folder = Path()

    async def run(self) -> int:
        """Return when all workers have ended: 0 when they did as they were told, 1 when one did not, the first one's
        status when it cannot start."""
        async with AsyncExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="verbatim-metrics-")))
            on_signals(self._stop)
            if self._settings.mongo_uri is None:
                mongod = await asyncio.to_thread(find_mongod, self._settings.mongod)
                embedded = EmbeddedMongod(self._settings.data, mongod)
                stack.push_async_callback(embedded.stop, wait=True)
                await embedded.start()
            first = await self._spawn(1)
            if not await first.is_ready():
                return await self._ended(1, first)
            self._welcome()
            async with asyncio.TaskGroup() as tasks:
                for number in range(1, self._settings.workers + 1):
                    tasks.create_task(self._keep(number, first if number == 1 else None))
        return int(self._has_failed)

    async def _keep(self, number: int, worker: _Worker | None) -> None:
        """Have this worker live until all are to stop. `worker`: the one that does."""
        clock = asyncio.get_running_loop().time
        deaths = 0
        while worker is not None or not self._stopping.is_set():
            worker = worker or await self._spawn(number)
            started = clock()
            status = await self._ended(number, worker)
            worker = None
            if self._stopping.is_set():
                self._has_failed |= status not in _TOLD
                return
            deaths = 1 if clock() - started >= SETTLED_SECONDS else deaths + 1
            pause = min(FIRST_PAUSE * 2 ** (deaths - 1), LONGEST_PAUSE)
            logger.error("worker_died", worker=number, status=status, restarts_in=pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _spawn(self, number: int) -> _Worker:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        order = Order(number, self._listener.fileno(), theirs.fileno(), self._options)
        paths = os.pathsep.join(filter(None, [_SOURCE, os.environ.get("PYTHONPATH")]))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "app.cli.worker", order.encode()),
            stdin=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths, FOLDER: str(self._folder), WORKER: str(number)},
            pass_fds=(order.listener, order.control),
            process_group=0,
        )
        theirs.close()
        worker = self._living[number] = _Worker(process, ours)
        register(self._folder, number, process.pid)
        if self._stopping.is_set():  # meanwhile
            process.terminate()
        return worker

    async def _ended(self, number: int, worker: _Worker) -> int:
        """The exit status, once there is one."""
        status = await worker.process.wait()
        del self._living[number]
        worker.control.close()
        await asyncio.to_thread(forget, self._folder, number)
        return status

    def _stop(self) -> None:
        """Tell all workers, again with each signal: the second time they do not wait."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._listener.close()
            patience = self._settings.drain_timeout + ENDING_SECONDS + CLOSING_SECONDS
            asyncio.get_running_loop().call_later(patience, self._tell, signal.SIGKILL)
        self._tell(signal.SIGTERM)

    def _tell(self, number: signal.Signals) -> None:
        for worker in self._living.values():
            with suppress(ProcessLookupError):
                worker.process.send_signal(number)
