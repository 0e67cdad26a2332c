"""Errors as application/problem+json (RFC 9457): the dialect of our REST face."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.kit import metrics
from app.kit.database_errors import UNSTORABLE, translate
from app.kit.errors import FieldError, Invalid, VerbatimError
from app.kit.logs import logger, request_id
from app.kit.responses import to_json

PROBLEM_JSON = "application/problem+json"
SHOWN_FIELDS = 50
"""Places at fault that an answer names: a refusal must not cost more than the request did."""


class FieldProblem(BaseModel):
    field: str = Field(description="where: body, query, path or header, then the dotted name")
    message: str


class Problem(BaseModel):
    """What every error answers."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    code: str = Field(description="stable: programs may compare it")
    detail: str = Field(description="one sentence for this occasion")
    request_id: str
    fields: list[FieldProblem] | None = Field(None, description="the places at fault")


def problem_body(error: VerbatimError) -> dict[str, Any]:
    return {
        "type": f"urn:verbatim:error:{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        "request_id": request_id(),
        **error.members,
    }


def problem(error: VerbatimError) -> Response:
    metrics.errors.labels(error.code).inc()
    return Response(to_json(problem_body(error)), error.status, headers=error.headers, media_type=PROBLEM_JSON)


def as_verbatim_error(error: Exception, *, is_write: bool) -> VerbatimError | None:
    """Any expected exception as one of ours; None when it is a fault of the program."""
    if isinstance(error, VerbatimError):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error.errors())
    return translate(error, is_write=is_write)


def _invalid(errors: Sequence[Any]) -> Invalid:
    fields = [_field_error(each) for each in errors[:SHOWN_FIELDS]]
    detail = "; ".join(f"{each.field}: {each.message}" for each in fields)
    if len(errors) > SHOWN_FIELDS:
        detail += f"; and {len(errors) - SHOWN_FIELDS} more"
    return Invalid(detail, fields=fields)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` of routes that may answer these errors."""
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _DESCRIPTIONS[status], "content": content} for status in statuses}


_DESCRIPTIONS: Mapping[int, str] = {
    401: "No credential, or one that does not count",
    403: "The credential or role does not allow this",
    404: "Absent, or not yours",
    409: "Contradicts the stored state",
    412: "If-Match names another version; `current` shows the stored one",
    413: "Over a size limit",
    414: "The address is over its limit",
    416: "Behind the end of the file; see Content-Range",
    422: "Cannot be understood; `fields` names the places at fault",
    429: "Too many at the same time, or too often; see Retry-After",
    431: "The headers are over their limit",
    502: "The language model's server failed",
    503: "Cannot be served now; see Retry-After",
}


def speak_problems(app: FastAPI) -> None:
    """Answer every error as a problem document, and say so in OpenAPI."""
    app.add_exception_handler(HTTPException, _on_http_exception)
    for kind in (VerbatimError, RequestValidationError, PyMongoError, *UNSTORABLE):
        app.add_exception_handler(kind, _on_error)
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _document(generate())
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]


def _document(openapi: dict[str, Any]) -> None:
    """Put the problem document in the place of FastAPI's own validation error; name what may be too large."""
    for operations in openapi["paths"].values():
        for operation in operations.values():
            responses = operation["responses"]
            if _UNUSED.intersection(_schema_of(responses.get("422", {})).split("/")):
                del responses["422"]  # what the framework would answer, where a route answers something else
            if "requestBody" in operation:
                responses.setdefault("413", problem_responses(413)[413])
    schemas = openapi.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(schemas["Problem"].pop("$defs"))
    for unused in _UNUSED:
        schemas.pop(unused, None)


_UNUSED = frozenset({"HTTPValidationError", "ValidationError"})
"""Schemas of the framework's own errors."""


def _schema_of(response: Mapping[str, Any]) -> str:
    """The reference to the schema of a response's JSON, or an empty string."""
    return str(response.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", ""))


async def _on_error(request: Request, error: Exception) -> Response:
    known = as_verbatim_error(error, is_write=request.method not in {"GET", "HEAD"})
    if known is None:
        raise error
    if not isinstance(error, VerbatimError | RequestValidationError):
        logger.warning("database_error", code=known.code, error=type(error).__name__, reason=_reason(error))
    return problem(known)


def _reason(error: Exception) -> str:
    """What ops need to know of it; messages about documents and queries would show what people wrote."""
    if isinstance(error, OperationFailure):
        return str((error.details or {}).get("codeName", error.code))
    return str(error)[:500] if isinstance(error, ConnectionFailure) else ""


def _field_error(error: Mapping[str, Any]) -> FieldError:
    message: str = error["msg"]
    if error["type"] == "json_invalid":
        return FieldError("body", error.get("ctx", {}).get("error", message))
    if error["type"] == "value_error":
        message = message.removeprefix("Value error, ")
    return FieldError(_place(error["loc"]), message)


def _place(location: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in location) or "body"


class _HTTPError(VerbatimError):
    """An error of the framework itself (no such route, wrong method, body too large) in our dialect."""

    def __init__(self, error: HTTPException) -> None:
        super().__init__(error.detail, headers=error.headers)
        self.status = error.status_code  # type: ignore[misc]
        self.code, self.title = _HTTP_CODES.get(error.status_code, ("http_error", error.detail))  # type: ignore[misc]


_HTTP_CODES: Mapping[int, tuple[str, str]] = {
    400: ("bad_request", "The request cannot be read"),
    404: ("not_found", "There is nothing here"),
    405: ("method_not_allowed", "This method is not allowed here"),
    408: ("request_timeout", "The request takes too long to come"),
    413: ("payload_too_large", "This is larger than the limit"),
}


async def _on_http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    return problem(_HTTPError(error))
