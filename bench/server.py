"""A real server in a process of its own."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from bench.processes import Process

KEY = "bench-key-of-the-first-admin-0123456789"


UNLIMITED = {"rate_limit_per_user": 0, "rate_limit_per_address": 0}
"""A benchmark sends more than anybody may."""


class Server:
    """`verbatim serve` on a free port of loopback and a data folder, until the block ends.

    `settings`: further settings by their names, as text or as what becomes JSON.
    """

    def __init__(self, data: Path, **settings: Any) -> None:
        self._data = data
        self._settings = {"bootstrap_key": KEY, "log_level": "warning", **UNLIMITED, **settings}

    async def __aenter__(self) -> "Server":
        # In a thread: a database client of this process would else miss its heartbeats and give up its connections.
        await asyncio.to_thread(self._start)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.process.stop)

    def _start(self) -> None:
        command = [sys.executable, "-m", "app.cli", "serve", "--port", "0", "--data", str(self._data)]
        own = {
            f"VERBATIM_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in self._settings.items()
        }
        self.process = Process(command, {**os.environ, **own})
        for line in self.process.lines:
            name, _, value = line.partition(" ")
            if name == "Verbatim":
                self.port = int(value.strip().rpartition(":")[2])
            if line.startswith("Ctrl-C"):
                break
        else:
            self.process.stop()
            raise RuntimeError("the server did not start")
