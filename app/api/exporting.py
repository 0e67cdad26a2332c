"""Sending an export."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from app.exports.service import export_rows
from app.kit.export import FORMATS
from app.kit.listing import parse_boolean, parse_listing
from app.kit.parameters import list_parameters
from app.kit.repository import Repository, Scope
from app.kit.resource import Resource

_OWN_PARAMETERS = frozenset({"format", "columns", "raw"})


def export_documentation(resource: Resource) -> dict[str, Any]:
    """Keyword arguments of an export's route: its parameters and its files in OpenAPI."""
    names = ", ".join(column.name for column in resource.exported)
    own = [
        {"name": "format", "in": "query", "schema": {"type": "string", "enum": list(FORMATS), "default": "csv"}},
        {
            "name": "columns",
            "in": "query",
            "description": f"Separated by commas; all without: {names}",
            "schema": {"type": "string"},
        },
        {
            "name": "raw",
            "in": "query",
            "description": "CSV for programs: no byte order mark, no guard against formulas",
            "schema": {"type": "boolean", "default": False},
        },
    ]
    listed = list_parameters(resource, paged=False)["parameters"]
    content = {each.media_type.partition(";")[0]: {"schema": {"type": "string"}} for each in FORMATS.values()}
    return {
        "openapi_extra": {"parameters": [*own, *listed]},
        "responses": {200: {"description": "The file", "content": content}},
        "response_class": Response,
    }


async def send_export(request: Request, rows: Repository[Any], scope: Scope, resource: Resource) -> Response:
    """The file that the query string asks for.

    Whatever goes wrong before the first bytes is an error with its status; afterwards the connection is broken off.
    """
    values = dict(request.query_params.multi_items())
    rest = [(name, text) for name, text in request.query_params.multi_items() if name not in _OWN_PARAMETERS]
    export = export_rows(
        rows,
        scope,
        parse_listing(resource, rest, paged=False),
        format=values.get("format", "csv"),
        columns=values.get("columns"),
        raw=parse_boolean("raw", values.get("raw", "false")),
    )
    first = await anext(export.chunks, b"")
    return StreamingResponse(
        _chunks(first, export.chunks),
        media_type=export.format.media_type,
        headers={"Content-Disposition": f'attachment; filename="{export.filename}"', "Cache-Control": "no-store"},
    )


async def _chunks(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    async with aclosing(rest):
        yield first
        async for chunk in rest:
            yield chunk
