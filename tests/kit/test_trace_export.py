"""Sending traces: what a collector gets of a server, and that nobody pays for it who does not want it."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.kit import tracing
from app.kit.errors import Unavailable
from app.kit.trace_export import exporting
from tests.processes import ServerProcess


class Collector:
    """Takes what is exported to it by OTLP over HTTP."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.received: list[ExportTraceServiceRequest] = []

    async def take(self, request: web.Request) -> web.Response:
        self.received.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response()


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    collector = Collector()
    application = web.Application()
    application.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    collector.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield collector
    await runner.cleanup()


@pytest.mark.mongod
@pytest.mark.slow
async def test_a_server_sends_its_traces_also_the_last_ones(
    tmp_path: Path, mongo_uri: str, collector: Collector
) -> None:
    settings = {"mongo_uri": mongo_uri, "database": "verbatim_traces", "otel_endpoint": collector.endpoint}
    async with ServerProcess(tmp_path, **settings, log_format="json", log_output="stderr") as server:
        async with server.client() as client:
            await client.get("/api/users/me", params={"q": "secret"})
            await client.get("/api/users/me")
        assert await server.terminate() == 0
        log = server.log

    resources = [each for request in collector.received for each in request.resource_spans]
    spans = [span for each in resources for scope in each.scope_spans for span in scope.spans]
    names = {attribute.key: attribute.value.string_value for attribute in resources[0].resource.attributes}
    assert names["service.name"] == "verbatim"
    assert {"GET /api/users/me", "find users"} <= {span.name for span in spans}
    assert spans[0].trace_id.hex() in log
    assert b"secret" not in b"".join(request.SerializeToString() for request in collector.received)


async def test_without_the_extra_it_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(Unavailable, match=r"pip install 'verbatim\[otel\]'"):
        async with exporting("http://127.0.0.1:4318"):
            pass


async def test_nothing_is_traced_without_a_setting() -> None:
    async with exporting(None):
        assert not tracing.is_on()
        with tracing.request({"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}) as span:
            assert span is None
            assert tracing.ids() is None


def test_the_sdk_is_not_imported_for_nothing() -> None:
    code = "import sys, app.cli; sys.exit(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == 0
