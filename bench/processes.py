"""Processes of our own: started, measured, and stopped by their process id."""

import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Any

import psutil

_PATIENCE = 60.0


def cpu_seconds(process: psutil.Process) -> float:
    """That it has used, without those of its children."""
    times = process.cpu_times()
    return float(times.user + times.system)


class Process:
    """A process that has been started."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], *, output: int | IO[Any] = subprocess.PIPE
    ) -> None:
        self._process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=None if output == subprocess.PIPE else output, text=True
        )
        self.pid = self._process.pid
        self._usage = psutil.Process(self.pid)

    @property
    def lines(self) -> IO[str]:
        """Its standard output, unless that goes to a file."""
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def cpu_seconds(self) -> float:
        """Of the process itself: what it starts, such as a database, is not counted."""
        return cpu_seconds(self._usage)

    def memory(self) -> int:
        """Resident bytes."""
        return int(self._usage.memory_info().rss)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that is not enough."""
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class PeakMemory:
    """The largest resident size of a process while the block runs, in bytes, and the size before it."""

    def __init__(self, pid: int | None = None) -> None:
        self._process = psutil.Process(pid)
        self._is_over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self.before = self.peak = int(self._process.memory_info().rss)

    def __enter__(self) -> "PeakMemory":
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._is_over.wait(0.02):
            self.peak = max(self.peak, int(self._process.memory_info().rss))
