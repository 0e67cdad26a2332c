"""The processes beside Verbatim: the upstream that answers, and LiteLLM's proxy to be compared with."""

import json
import os
import socket
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.processes import Process

LITELLM_KEY = "sk-bench"
LITELLM_MODEL = "gpt-4o-mini"
"""A name that LiteLLM knows: others cost it more."""

_PATIENCE = 180.0


@dataclass(frozen=True)
class Pace:
    """How the upstream answers: seconds to the first token, tokens, seconds between them."""

    first: float = 0.0
    tokens: int = 40
    delay: float = 0.0
    every: bool = False
    """Each token is stamped, not only the first and the last."""

    @property
    def seconds(self) -> float:
        return self.first + self.delay * (self.tokens - 1)


class FakeUpstream:
    """`bench.fake_upstream` until the block ends."""

    def __enter__(self) -> "FakeUpstream":
        self.process = Process([sys.executable, "-m", "bench.fake_upstream"], os.environ)
        self.port = int(self.process.lines.readline())
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.stop()

    def set_pace(self, pace: Pace) -> None:
        """Also begins to count anew."""
        self._get(f"pace?first={pace.first}&tokens={pace.tokens}&delay={pace.delay}&every={int(pace.every)}")
        self._get("counts?reset=1")

    def counts(self) -> dict[str, int]:
        """{"connections", "requests", "most"} since the pace was set, its own questions not counted."""
        counts = self._get("counts")
        return {**counts, "connections": counts["connections"] - 1}

    def release(self) -> None:
        """Send the first tokens that are still waited for."""
        self._get("release")

    def _get(self, path: str) -> dict[str, int]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=10) as response:
            answer: dict[str, int] = json.load(response)
        return answer


class LiteLLM:
    """LiteLLM's proxy in front of an upstream, one worker without a database, until the block ends."""

    def __init__(self, executable: Path, folder: Path, base_url: str) -> None:
        self._executable = executable
        self._folder = folder
        self._base_url = base_url

    def __enter__(self) -> "LiteLLM":
        self.port = _free_port()
        config, log = self._folder / "litellm.json", self._folder / "litellm.log"
        config.write_text(json.dumps(self._config()))  # JSON is YAML
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--num_workers", "1", "--telemetry", "False"]
        quiet = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        with log.open("w") as output:
            self.process = Process(
                [str(self._executable), "--config", str(config), *options],
                {**os.environ, **quiet, "NO_PROXY": "*"},
                output=output,
            )
        try:
            self._wait()
        except BaseException:
            self.process.stop()
            print(log.read_text()[-2000:], file=sys.stderr)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.stop()

    def _config(self) -> dict[str, object]:
        upstream = {"model": f"openai/{LITELLM_MODEL}", "api_base": self._base_url, "api_key": "sk-upstream"}
        return {
            "model_list": [{"model_name": LITELLM_MODEL, "litellm_params": upstream}],
            "litellm_settings": {"num_retries": 0, "request_timeout": 600, "telemetry": False},
            "general_settings": {"master_key": LITELLM_KEY},
        }

    def _wait(self) -> None:
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until and self.process.is_running:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/liveliness", timeout=5):
                    return
            except OSError:
                time.sleep(0.25)
        raise RuntimeError("LiteLLM did not start")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
