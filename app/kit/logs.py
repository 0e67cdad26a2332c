"""Structured logs: one line an event, with the request it belongs to; never a secret, never a message's text."""

import logging
import re
import sys
from typing import Any, Literal

import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars
from structlog.typing import EventDict, FilteringBoundLogger, Processor

REDACTED = "[secret]"
_SECRET = re.compile(r"\b(?:vb_|vr_|whsec_)[A-Za-z0-9_+/=-]{16,}|\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4}")
"""API keys and refresh tokens, secrets of webhooks, and JSON Web Tokens."""

logger: FilteringBoundLogger = structlog.get_logger("verbatim")


def configure_logs(level: str, format: Literal["console", "json"]) -> None:
    """Send our lines, and those of the libraries, to standard error in one format."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),  # a line below the level costs nothing
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                without_secrets,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for noisy in ("pymongo", "httpx", "httpcore", "aiohttp.access", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Its lines show query strings, where keys are put by mistake; ours about each request take their place.
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    # Its debug lines show the headers and the frames of WebSockets, keys and contents among them.
    logging.getLogger("uvicorn.error").setLevel(max(logging.INFO, root.level))


def without_secrets(_: Any, __: str, event: EventDict) -> EventDict:
    """The line with what has the shape of a key or token taken out, wherever it has come from: a path, an exception."""
    return {name: _SECRET.sub(REDACTED, value) if isinstance(value, str) else value for name, value in event.items()}


def begin_request(id: str) -> None:
    clear_contextvars()
    bind_contextvars(request_id=id)


def request_id() -> str:
    """The id of the request this task serves, or an empty string."""
    return str(get_contextvars().get("request_id", ""))
