"""Traces (OpenTelemetry): what a request did, in the database and upstream, as spans of one trace.

Nothing happens, and nothing of the SDK is imported, until `start` is given a provider. Spans hold names, ids, sizes and
codes: never a path, a query, a header, a document or a text. A client's `traceparent` is gone on with and handed to
upstreams; its baggage is not, which might hold anything.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app import __version__

Attributes = Mapping[str, str | int | float | bool]

_propagator = TraceContextTextMapPropagator()
_tracer: Tracer | None = None


def start(provider: TracerProvider | None) -> None:
    """Trace with this provider from now on; None: no more."""
    global _tracer  # noqa: PLW0603 one for the process, as the metrics are
    _tracer = None if provider is None else provider.get_tracer("verbatim", __version__)


def is_on() -> bool:
    return _tracer is not None


def ids() -> tuple[str, str] | None:
    """The trace and the span that this task is in, as hexadecimal digits."""
    if _tracer is None:
        return None
    current = trace.get_current_span().get_span_context()
    return (f"{current.trace_id:032x}", f"{current.span_id:016x}") if current.is_valid else None


def note(attributes: Attributes) -> None:
    """Add to the span that this task is in."""
    if _tracer is not None:
        trace.get_current_span().set_attributes(dict(attributes))


def request(headers: Mapping[str, str]) -> AbstractContextManager[Span | None]:
    """The span of a request, under the trace that its headers name; what the block does is part of it."""
    if _tracer is None:
        return nullcontext()
    parent = _propagator.extract(headers)
    return _current(_tracer.start_span("request", context=parent, kind=SpanKind.SERVER))


def part(name: str, attributes: Attributes) -> AbstractContextManager[Span | None]:
    """A span of what the block does, under the one that this task is in."""
    if _tracer is None:
        return nullcontext()
    return _current(_tracer.start_span(name, attributes=dict(attributes)))


@contextmanager
def _current(span: Span) -> Iterator[Span]:
    """The span is the task's while the block runs; how the block ends says whether it failed."""
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield span
        except BaseException as error:
            fail(span, type(error).__name__)
            raise


def begin(name: str, attributes: Attributes) -> Span | None:
    """A span of its own length under the one that this task is in, linked to it since it may outlive it; from now on
    the one that this task is in. Whoever begins it ends it."""
    if _tracer is None:
        return None
    asker = trace.get_current_span().get_span_context()
    links = [Link(asker)] if asker.is_valid else []
    span = _tracer.start_span(name, attributes=dict(attributes), links=links)
    contexts.attach(trace.set_span_in_context(span))
    return span


@contextmanager
def call(name: str, attributes: Attributes) -> Iterator[dict[str, str]]:
    """A span of a call to another server; answers the headers that tell it of the trace."""
    if _tracer is None:
        yield {}
        return
    span = _tracer.start_span(name, kind=SpanKind.CLIENT, attributes=dict(attributes))
    headers: dict[str, str] = {}
    _propagator.inject(headers, trace.set_span_in_context(span))
    try:
        yield headers
    except BaseException as error:
        fail(span, str(getattr(error, "code", type(error).__name__)))
        raise
    finally:
        span.end()


def command(name: str, attributes: Attributes) -> Span | None:
    """A span of a command to the database; None where no span of a request or a turn is open, as in the background."""
    if _tracer is None or not trace.get_current_span().is_recording():
        return None
    return _tracer.start_span(name, kind=SpanKind.CLIENT, attributes=dict(attributes))


def end(span: Span, failure: Any = None) -> None:
    """The span is over. `failure`: a code or a name, never a message."""
    if failure is not None:
        fail(span, str(failure))
    span.end()


def fail(span: Span, type: str) -> None:
    """The span has failed, for a reason with this name."""
    span.set_attribute("error.type", type)
    span.set_status(Status(StatusCode.ERROR))
