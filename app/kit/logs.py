"""Structured logs: one line an event, with the request, turn and person it belongs to; never a secret, never a
message's text."""

import atexit
import logging
import re
import sys
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Literal

import structlog
from pymongo.errors import PyMongoError
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from app.kit import tracing
from app.kit.log_queue import QueuedFile

REDACTED = "[secret]"
_SECRET = re.compile(r"\b(?:vb_|vr_|whsec_)[A-Za-z0-9_+/=-]{16,}|\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4}")
"""API keys and refresh tokens, secrets of webhooks, and JSON Web Tokens."""

Format = Literal["console", "json"]

logger: FilteringBoundLogger = structlog.get_logger("verbatim")


@dataclass(frozen=True)
class LogFile:
    """Where lines go besides: JSON, put aside as `.1` to `.<backups>` when it has grown to `max_bytes`."""

    path: Path
    max_bytes: int
    backups: int

    def of_worker(self, number: int | None) -> Path:
        """Each process has one of its own: two cannot put aside the same file."""
        return self.path if number is None else self.path.with_name(f"{self.path.stem}-{number}{self.path.suffix}")


def configure_logs(
    level: str,
    format: Format,
    *,
    output: Literal["stdout", "stderr"] = "stderr",
    file: LogFile | None = None,
    worker: int | None = None,
) -> None:
    """Send our lines, and those of the libraries, to one place in one format, and to the file too. Raises OSError.

    `worker`: this process's number among several, which each line then shows.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_trace,
    ]
    if worker is not None:
        shared.append(lambda _, __, event: {**event, "worker": worker})
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),  # a line below the level costs nothing
        cache_logger_on_first_use=True,
    )
    stream = sys.stdout if output == "stdout" else sys.stderr
    handlers: list[logging.Handler] = [logging.StreamHandler(stream)]
    handlers[0].setFormatter(_formatter(shared, format, colors=stream.isatty()))
    if file is not None:
        handlers.append(_queued(file, worker))
        handlers[1].setFormatter(_formatter(shared, "json"))
    root = logging.getLogger()
    for old in root.handlers:
        if isinstance(old, QueuedFile):
            old.close()
    root.handlers = handlers
    root.setLevel(level.upper())
    for noisy in ("pymongo", "httpx", "httpcore", "aiohttp.access", "asyncio", "opentelemetry"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("pymongo.client").addFilter(_in_one_line)
    # Its lines show query strings, where keys are put by mistake; ours about each request take their place.
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    # Its debug lines show the headers and the frames of WebSockets, keys and contents among them.
    logging.getLogger("uvicorn.error").setLevel(max(logging.INFO, root.level))


def _in_one_line(record: logging.LogRecord) -> bool:
    """What the driver's own tasks meet while members come and go is told as such errors are told elsewhere: without the
    places in the code."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, PyMongoError):
        record.msg, record.args = f"{record.getMessage()} {type(error).__name__}: {error}", None
        record.exc_info = record.exc_text = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


def _queued(file: LogFile, worker: int | None) -> QueuedFile:
    path = file.of_worker(worker)
    queued = QueuedFile(RotatingFileHandler(path, maxBytes=file.max_bytes, backupCount=file.backups, encoding="utf-8"))
    atexit.register(queued.close)
    return queued


def _formatter(shared: list[Processor], format: Format, *, colors: bool = False) -> logging.Formatter:
    renderer: Processor = (
        structlog.processors.JSONRenderer() if format == "json" else structlog.dev.ConsoleRenderer(colors=colors)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            without_secrets,
            renderer,
        ],
    )


def _with_trace(_: Any, __: str, event: EventDict) -> EventDict:
    """The line with the trace and the span it was written in, where there is one."""
    if (found := tracing.ids()) is not None:
        event["trace_id"], event["span_id"] = found
    return event


def without_secrets(_: Any, __: str, event: EventDict) -> EventDict:
    """The line with what has the shape of a key or token taken out, wherever it has come from: a path, an exception."""
    return {name: _SECRET.sub(REDACTED, value) if isinstance(value, str) else value for name, value in event.items()}


def begin_request(id: str) -> None:
    clear_contextvars()
    bind_contextvars(request_id=id)


def bind_ids(**ids: str) -> None:
    """Show these ids on each line that this task, and those it starts, will write: `principal_id`, `turn_id`."""
    bind_contextvars(**ids)


def request_id() -> str:
    """The id of the request this task serves, or an empty string."""
    return str(get_contextvars().get("request_id", ""))
