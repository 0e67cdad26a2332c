"""Sending an export."""

from collections.abc import AsyncGenerator, Collection, Iterable
from contextlib import aclosing
from typing import Any

from fastapi import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from app.audit.trail import record
from app.auth.principal import Principal
from app.exports.layout import FileRequest, check_file
from app.exports.service import Export, export_rows
from app.exports.tables import TABLES
from app.kit import metrics
from app.kit.errors import FieldError
from app.kit.export import FORMATS
from app.kit.listing import check_boolean, parse_listing
from app.kit.parameters import list_parameters
from app.kit.resource import Resource
from app.services import Services

_OWN_PARAMETERS = frozenset({"format", "columns", "raw", "tz"})


def export_documentation(resource: Resource) -> dict[str, Any]:
    """Keyword arguments of an export's route: its parameters and its files in OpenAPI."""
    table = TABLES[resource.name]
    own_names = ", ".join(column.name for column in resource.exported)
    joined_names = ", ".join(name for name in table.columns if name not in resource.by_name)
    others = f"; on request: {joined_names}" if joined_names else ""
    own = [
        {"name": "format", "in": "query", "schema": {"type": "string", "enum": list(FORMATS), "default": "csv"}},
        {
            "name": "columns",
            "in": "query",
            "description": f"Separated by commas; without: {own_names}{others}",
            "schema": {"type": "string"},
        },
        {
            "name": "raw",
            "in": "query",
            "description": "CSV for programs: no byte order mark, no guard against formulas",
            "schema": {"type": "boolean", "default": False},
        },
        {
            "name": "tz",
            "in": "query",
            "description": "The time zone that instants are shown in, such as Asia/Shanghai; JSON Lines are always UTC",
            "schema": {"type": "string", "default": "UTC"},
        },
    ]
    listed = list_parameters(resource, paged=False)["parameters"]
    content = {each.media_type.partition(";")[0]: {"schema": {"type": "string"}} for each in FORMATS.values()}
    return {
        "openapi_extra": {"parameters": [*own, *listed]},
        "responses": {200: {"description": "The file", "content": content}},
        "response_class": Response,
    }


async def send_export(request: Request, services: Services, principal: Principal, resource: Resource) -> Response:
    """The file that the query string asks for. Raises Invalid."""
    table = TABLES[resource.name]
    own, listed, faults = separated(request.query_params.multi_items(), _OWN_PARAMETERS)
    wanted = FileRequest(
        format=own.get("format", "csv"),
        columns=own.get("columns"),
        raw=own.get("raw") == "true",
        tz=own.get("tz", "UTC"),
    )
    listing = parse_listing(resource, listed, paged=False, faults=[*faults, *check_file(table, wanted)])
    export = export_rows(services.sources, principal.scope, table, listing, wanted)
    await record("export.downloaded", resource.name, details={"format": export.format.name, "filters": _names(listed)})
    return ExportResponse(export)


def _names(parameters: Iterable[tuple[str, str]]) -> list[str]:
    """Which filters there were; their values are what somebody wrote."""
    return sorted({name for name, _ in parameters})


def separated(
    parameters: Iterable[tuple[str, str]], names: Collection[str]
) -> tuple[dict[str, str], list[tuple[str, str]], list[FieldError]]:
    """The parameters of these names, `raw` among them, the others, and what is wrong with the former by themselves."""
    own: dict[str, str] = {}
    listed, faults = [], []
    for name, text in parameters:
        if name in own:
            faults.append(FieldError(f"query.{name}", "is given twice"))
        if name in names:
            own[name] = text
        else:
            listed.append((name, text))
    return own, listed, [*faults, *check_boolean("raw", own.get("raw", "false"))]


class ExportResponse(StreamingResponse):
    """Sends an export from its first bytes on: what goes wrong before is an error with its status.

    Afterwards an error breaks the connection off, so that nobody takes the part for the whole. A client that leaves
    ends the export at once, also while the file is still being prepared.
    """

    def __init__(self, export: Export) -> None:
        disposition = f'attachment; filename="{export.filename}"'
        super().__init__(
            export.chunks,
            media_type=export.format.media_type,
            headers={"Content-Disposition": disposition, "Cache-Control": "no-store"},
        )
        self._chunks = export.chunks
        self._format = export.format.name

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._counted()) as chunks:
            chunk = await anext(chunks, b"")
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while chunk:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                chunk = await anext(chunks, b"")
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _counted(self) -> AsyncGenerator[bytes, None]:
        """The chunks; how they end is counted: completed, failed, or left by their reader."""
        outcome = "left"
        try:
            async with aclosing(self._chunks) as chunks:
                async for chunk in chunks:
                    metrics.export_bytes.labels(self._format).inc(len(chunk))
                    yield chunk
            outcome = "completed"
        except Exception:
            outcome = "failed"
            raise
        finally:
            metrics.exports.labels(self._format, outcome).inc()
