"""A log file that is written by a thread: a slow or full disk must not hold up the event loop."""

import logging
import queue
from logging.handlers import QueueHandler, QueueListener

from app.kit import metrics

MAX_LINES = 10_000


class QueuedFile(QueueHandler):
    """Lines for `file`, as this handler's formatter makes them; those that find the queue full are counted and lost."""

    def __init__(self, file: logging.Handler) -> None:
        waiting: queue.Queue[logging.LogRecord] = queue.Queue(MAX_LINES)
        super().__init__(waiting)
        self._file = file
        self._writer: QueueListener | None = QueueListener(waiting, file)
        self._writer.start()

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            metrics.log_lines_lost.inc()

    def close(self) -> None:
        """Write what waits, and end."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.stop()
            self._file.close()
        super().close()
