"""Another client, who asks for something small again and again while something large happens."""

import http.client
import threading
import time

from bench.streams import percentile

_PAUSE = 0.05


class Probe:
    """One GET every 50 ms over one connection until the block ends; a server that stands still is one long wait."""

    def __init__(self, port: int, path: str, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=900)
        self._path = path
        self._headers = {"Authorization": f"Bearer {key}"}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask_on)
        self.milliseconds: list[float] = []
        self._refused = 0

    def __enter__(self) -> "Probe":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._connection.close()
        if self._refused:
            raise RuntimeError(f"{self._path} was refused {self._refused} times")

    def percentile(self, share: float) -> float:
        return percentile(self.milliseconds, share)

    def _ask_on(self) -> None:
        while not self._is_over.wait(_PAUSE):
            started = time.perf_counter()
            self._connection.request("GET", self._path, headers=self._headers)
            response = self._connection.getresponse()
            response.read()
            self.milliseconds.append((time.perf_counter() - started) * 1000)
            self._refused += response.status != 200
