"""Routes that read strictly: JSON that can be stored, parameters that are declared."""

from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.responses import Response

from app.kit import strict_json
from app.kit.errors import FieldError, Invalid
from app.kit.schemas import as_optional_document

_JSON_TYPES = ("application/json", "application/merge-patch+json")
IN_LOOP_BYTES = 128 * 1024
"""Larger bodies are parsed in a thread: 8 MiB of brackets take more than a second, in which others go on."""


class StrictRequest(Request):
    """A request that refuses JSON which could not be stored or read again."""

    opaque_members: Collection[str] = ()

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            body = await self.body()
            parse = partial(strict_json.loads, opaque=self.opaque_members)
            self._json = await anyio.to_thread.run_sync(parse, body) if len(body) > IN_LOOP_BYTES else parse(body)
        return self._json


class StrictRoute(APIRoute):
    """A route that refuses query parameters it does not declare.

    One that declares some in `openapi_extra` reads them itself: it names the unknown ones with all other faults.
    """

    opaque_members: Collection[str] = ()
    """Members of the body in which any keys are allowed: they are stored as text, or checked by name."""
    content_types: Sequence[str] = _JSON_TYPES

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        declared = frozenset(_query_names(self.dependant))
        reads_itself = any(each["in"] == "query" for each in (self.openapi_extra or {}).get("parameters", ()))

        async def strict(request: Request) -> Response:
            unknown = [name for name in request.query_params if name not in declared]
            if unknown and not reads_itself:
                fields = [FieldError(f"query.{name}", "is not a parameter here") for name in unknown]
                raise Invalid.of(fields)
            if self.body_field is not None and _has_body(request):
                _check_content_type(request, self.content_types)
            strict_request = StrictRequest(request.scope, request.receive)
            strict_request.opaque_members = self.opaque_members
            return await handle(strict_request)

        return strict


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for each in dependant.dependencies:
        yield from _query_names(each)


class RouteWithTools(StrictRoute):
    """A route whose body may hold `tools`: their JSON Schemas have keys such as `$ref`."""

    opaque_members = frozenset({"tools"})


class RouteWithFilters(StrictRoute):
    """A route whose body holds the parameters of a list, by names such as `feedback.rating__ne`, in `filters` or within
    an `export`."""

    opaque_members = frozenset({"filters", "export"})


def router(prefix: str, tag: str, *, route_class: type[StrictRoute] = StrictRoute, **options: Any) -> APIRouter:
    """A router of our REST face."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=route_class, **options)


def merge_patch_body(schema: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route that takes a JSON Merge Patch of what `schema` describes."""
    content = {"schema": as_optional_document(schema)}
    return {"requestBody": {"required": True, "content": dict.fromkeys(_JSON_TYPES, content)}}


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


def _check_content_type(request: Request, allowed: Sequence[str] = _JSON_TYPES) -> None:
    """Anything else would be read as a string of bytes, and the client told something odd about that."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in allowed:
        raise Invalid.field("header.Content-Type", f"is one of {', '.join(allowed)}")


async def read_merge_patch(request: Request) -> dict[str, Any]:
    """The patch in the body; raises RequestValidationError unless it is a JSON object."""
    _check_content_type(request)
    try:
        patch = await request.json()
    except strict_json.InvalidJSON as error:
        details = {"type": "json_invalid", "loc": ("body",), "msg": error.msg, "ctx": {"error": error.msg}}
        raise RequestValidationError([details]) from error
    if not isinstance(patch, dict):
        raise Invalid.field("body", "a merge patch is a JSON object")
    return patch
