"""What the driver tells of its commands and connections: counted, and the slow ones logged, without what they hold."""

from typing import Any

from opentelemetry.trace import Span
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
    ConnectionCheckedInEvent,
    ConnectionCheckedOutEvent,
    ConnectionCheckOutFailedEvent,
    ConnectionCheckOutStartedEvent,
    ConnectionClosedEvent,
    ConnectionCreatedEvent,
    ConnectionPoolListener,
    ConnectionReadyEvent,
    PoolClearedEvent,
    PoolClosedEvent,
    PoolCreatedEvent,
    PoolReadyEvent,
)

from app.kit import metrics, tracing
from app.kit.logs import logger

_WAITING = frozenset({"getMore", "hello", "ping"})
"""Commands that may take long by intention, or that say nothing."""


class Commands(CommandListener):
    """Counts commands; those that take longer than `slow_seconds` are logged with their collection."""

    def __init__(self, slow_seconds: float) -> None:
        self._slow_microseconds = slow_seconds * 1e6
        self._collections: dict[int, str] = {}

    def started(self, event: CommandStartedEvent) -> None:
        collection = event.command.get(event.command_name)
        self._collections[event.request_id] = collection if isinstance(collection, str) else ""

    def succeeded(self, event: CommandSucceededEvent) -> None:
        self._ended(event, "ok")

    def failed(self, event: CommandFailedEvent) -> None:
        self._ended(event, "failed")

    def _ended(self, event: CommandSucceededEvent | CommandFailedEvent, outcome: str) -> None:
        collection = self._collections.pop(event.request_id, "")
        metrics.commands.labels(event.command_name, outcome).observe(event.duration_micros / 1e6)
        if event.duration_micros >= self._slow_microseconds and event.command_name not in _WAITING:
            logger.warning(
                "slow_query",
                command=event.command_name,
                collection=collection,
                ms=round(event.duration_micros / 1000),
                outcome=outcome,
            )


class CommandSpans(CommandListener):
    """Spans of the commands that requests and turns send, without what they hold."""

    def __init__(self) -> None:
        self._spans: dict[int, Span] = {}

    def started(self, event: CommandStartedEvent) -> None:
        target = event.command.get(event.command_name)
        collection = target if isinstance(target, str) else ""
        attributes: dict[str, str | int] = {
            "db.system.name": "mongodb",
            "db.namespace": event.database_name,
            "db.operation.name": event.command_name,
            "server.address": event.connection_id[0],
        }
        if collection:
            attributes["db.collection.name"] = collection
        span = tracing.command(f"{event.command_name} {collection}".rstrip(), attributes)
        if span is not None:
            self._spans[event.request_id] = span

    def succeeded(self, event: CommandSucceededEvent) -> None:
        if (span := self._spans.pop(event.request_id, None)) is not None:
            tracing.end(span)

    def failed(self, event: CommandFailedEvent) -> None:
        if (span := self._spans.pop(event.request_id, None)) is not None:
            tracing.end(span, event.failure.get("codeName") or event.failure.get("errtype") or "failed")


class Pool(ConnectionPoolListener):
    """Counts connections: open, in use, and who waits for one."""

    def connection_created(self, event: ConnectionCreatedEvent) -> None:  # noqa: ARG002
        metrics.connections.labels("open").inc()

    def connection_closed(self, event: ConnectionClosedEvent) -> None:  # noqa: ARG002
        metrics.connections.labels("open").dec()

    def connection_check_out_started(self, event: ConnectionCheckOutStartedEvent) -> None:  # noqa: ARG002
        metrics.connections.labels("waited_for").inc()

    def connection_check_out_failed(self, event: ConnectionCheckOutFailedEvent) -> None:  # noqa: ARG002
        metrics.connections.labels("waited_for").dec()

    def connection_checked_out(self, event: ConnectionCheckedOutEvent) -> None:  # noqa: ARG002
        metrics.connections.labels("waited_for").dec()
        metrics.connections.labels("in_use").inc()

    def connection_checked_in(self, event: ConnectionCheckedInEvent) -> None:  # noqa: ARG002
        metrics.connections.labels("in_use").dec()

    def connection_ready(self, event: ConnectionReadyEvent) -> None: ...
    def pool_created(self, event: PoolCreatedEvent) -> None: ...
    def pool_ready(self, event: PoolReadyEvent) -> None: ...
    def pool_cleared(self, event: PoolClearedEvent) -> None: ...
    def pool_closed(self, event: PoolClosedEvent) -> None: ...


def listeners(slow_seconds: float) -> list[Any]:
    """For a client's `event_listeners`."""
    return [Commands(slow_seconds), Pool(), *([CommandSpans()] if tracing.is_on() else [])]
