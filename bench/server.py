"""A real server in a process of its own, and what it uses."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

import psutil

KEY = "bench-key-of-the-first-admin-0123456789"


class Server:
    """`verbatim serve` on a free port of loopback and a data folder, until the block ends."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def __enter__(self) -> "Server":
        environment = {**os.environ, "VERBATIM_BOOTSTRAP_KEY": KEY, "VERBATIM_LOG_LEVEL": "warning"}
        command = [sys.executable, "-m", "app.cli", "serve", "--port", "0", "--data", str(self._data)]
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            name, _, value = line.partition(" ")
            if name == "Verbatim":
                self.port = int(value.strip().rpartition(":")[2])
            if line.startswith("Ctrl-C"):
                break
        else:
            raise RuntimeError("the server did not start")
        self.pid = self._process.pid
        self._usage = psutil.Process(self.pid)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    def cpu_seconds(self) -> float:
        times = self._usage.cpu_times()
        return float(times.user + times.system)


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
