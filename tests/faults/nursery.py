"""Servers that start in a fraction of a second: forked from a process that has imported the server before.

async with Nursery() as nursery:
    async with nursery.server(data, **settings) as server:
        server.kill()

They are `verbatim serve` all the same, each a process of its own; what is saved is the second and a half of imports,
without which servers can be killed faster than a machine could start them.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from app.mongod.keeper import end_with_parent
from tests.processes import ROOT, ServerProcess


class Child:
    """A forked server, used like a process of asyncio's."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader, status: "asyncio.Future[int]") -> None:
        self.pid = pid
        self.stdout = stdout
        self._status = status

    @property
    def returncode(self) -> int | None:
        return self._status.result() if self._status.done() else None

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):  # it has ended, and the word of it is on its way
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """The exit status; minus the number of the signal that ended it."""
        return await asyncio.shield(self._status)

    async def communicate(self) -> tuple[bytes, None]:
        """What was left of its output, when it has ended."""
        rest = await self.stdout.read()
        await self.wait()
        return rest, None


class ForkedServer(ServerProcess):
    """A server from the nursery."""

    def __init__(self, nursery: "Nursery", data: Path, *options: str, **settings: Any) -> None:
        super().__init__(data, *options, **settings)
        self._nursery = nursery

    async def _spawn(self) -> Child:
        settings = {name: value for name, value in self._environment().items() if name.startswith("VERBATIM_")}
        arguments = ["serve", "--data", str(self.data), *self._options]
        return await self._nursery.fork(arguments, settings, self.data, self._log.fileno())


class Nursery:
    """The process that forks; an asynchronous context manager. Its servers end with it.

    `prelude`: a module whose `prepare()` each of them calls before it begins.
    """

    def __init__(self, prelude: str = "") -> None:
        self._prelude = prelude
        self._process: Process | None = None
        self._requests, self._far_end = socket.socketpair()
        self._one_at_a_time = asyncio.Lock()
        self._forked: asyncio.Queue[int] = asyncio.Queue()
        self._statuses: dict[int, asyncio.Future[int]] = {}
        self._listener: asyncio.Task[None] | None = None

    def server(self, data: Path, *options: str, **settings: Any) -> ForkedServer:
        """A server that is started when its context is entered; `options` of `verbatim serve`."""
        return ForkedServer(self, data, *options, **settings)

    async def fork(self, arguments: list[str], settings: dict[str, str], folder: Path, log: int) -> Child:
        """Run `verbatim` with these arguments; `log`: where standard error goes."""
        read_end, write_end = os.pipe()
        request = json.dumps({"arguments": arguments, "settings": settings, "folder": str(folder)})
        async with self._one_at_a_time:
            socket.send_fds(self._requests, [request.encode()], [write_end, log])
            pid = await self._forked.get()
        os.close(write_end)
        return Child(pid, await _reader(read_end), self._status(pid))

    def _status(self, pid: int) -> "asyncio.Future[int]":
        return self._statuses.setdefault(pid, asyncio.get_running_loop().create_future())

    async def _listen(self, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            pid, status = json.loads(line)
            if status is None:
                self._statuses.pop(pid, None)  # of an earlier process with this id
                self._forked.put_nowait(pid)
            else:
                self._status(pid).set_result(status)

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.faults.nursery", str(self._far_end.fileno()), self._prelude),
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith("VERBATIM_")},
            pass_fds=[self._far_end.fileno()],
            stdin=DEVNULL,
            stdout=PIPE,
        )
        self._far_end.close()
        assert self._process.stdout is not None
        self._listener = asyncio.create_task(self._listen(self._process.stdout))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._listener is not None
        self._requests.close()
        await self._listener
        await self._process.wait()


async def _reader(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb")
    )
    return reader


def _keep(requests: socket.socket, prelude: str) -> None:
    """Fork a server for each request, and say when one has ended, until nobody can ask any more."""
    from app import cli

    begin = import_module(prelude).prepare if prelude else lambda: None
    children: set[int] = set()
    prepare = end_with_parent() if sys.platform == "linux" else lambda: None

    def reap(*_: Any) -> None:
        for pid in list(children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                children.discard(pid)
                _say(pid, os.waitstatus_to_exitcode(status))

    signal.signal(signal.SIGCHLD, reap)
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, 65536, 2)
        if not message:
            break
        with _without(signal.SIGCHLD):
            pid = os.fork()
            if pid == 0:
                prepare()
                requests.close()
                _become(json.loads(message), descriptors)
            else:
                children.add(pid)
                _say(pid, None)
        if pid == 0:
            begin()
            cli.main()  # which ends in SystemExit
        for descriptor in descriptors:
            os.close(descriptor)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _become(request: dict[str, Any], descriptors: list[int]) -> None:
    """Be the process that was asked for."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, descriptor in enumerate(descriptors, start=1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.update(request["settings"])
    os.chdir(request["folder"])
    sys.argv = ["verbatim", *request["arguments"]]


@contextmanager
def _without(number: signal.Signals) -> Iterator[None]:
    """Let a signal wait."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})


def _say(pid: int, status: int | None) -> None:
    os.write(1, json.dumps([pid, status]).encode() + b"\n")


if __name__ == "__main__":
    _keep(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
