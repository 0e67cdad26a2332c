"""Sending traces to a collector: the SDK and its OTLP exporter over HTTP, which are the extra `otel`.

The address is a setting of ours; everything else is OpenTelemetry's own to say, in the environment: OTEL_SERVICE_NAME,
OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_SCHEDULE_DELAY and the others.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from opentelemetry.trace import TracerProvider

from app import __version__
from app.kit import tracing
from app.kit.errors import Unavailable

PATH = "/v1/traces"


@asynccontextmanager
async def exporting(endpoint: str | None) -> AsyncIterator[None]:
    """Trace while the block runs, and send what was traced; without an endpoint nothing happens.

    Raises Unavailable when the extra is not installed.
    """
    if endpoint is None:
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 an extra
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider as Provider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        sentence = "VERBATIM_OTEL_ENDPOINT needs the extra otel: pip install 'verbatim[otel]'."
        raise Unavailable(sentence) from error
    named = OTELResourceDetector().detect().attributes.get("service.name", "verbatim")
    resource = Resource.create({"service.name": named, "service.version": __version__})
    provider = Provider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}{PATH}")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    async with traced_by(provider):
        try:
            yield
        finally:
            await asyncio.to_thread(provider.shutdown)


@asynccontextmanager
async def traced_by(provider: TracerProvider) -> AsyncIterator[None]:
    tracing.start(provider)
    try:
        yield
    finally:
        tracing.start(None)
