"""Bulk writes: up to 1000 operations in one request, each with its own result."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Literal, cast

import orjson
from bson import ObjectId
from pydantic import Field, JsonValue
from starlette.responses import Response

from app.kit.errors import FieldError, IdempotencyKeyReused, Invalid, Unavailable, VerbatimError
from app.kit.etag import Versions
from app.kit.idempotency import Once
from app.kit.problems import as_verbatim_error, problem_body
from app.kit.repository import Row
from app.kit.responses import JSON, to_json
from app.kit.schemas import ID, Input, Output

MAX_OPERATIONS = 1000

BulkAction = Literal["create", "update", "delete"]

_NEEDED: Mapping[BulkAction, frozenset[str]] = {
    "create": frozenset({"body"}),
    "update": frozenset({"id", "body"}),
    "delete": frozenset({"id"}),
}
_ALLOWED: Mapping[BulkAction, frozenset[str]] = {
    "create": frozenset({"action", "body"}),
    "update": frozenset({"action", "id", "version", "body"}),
    "delete": frozenset({"action", "id", "version"}),
}


class BulkOperation(Input):
    """`create` needs a body, `update` (a merge patch) an id and a body, `delete` an id."""

    action: BulkAction
    id: ID | None = None
    version: int | None = Field(None, ge=1, description="the version you mean, as If-Match would say")
    body: dict[str, JsonValue] | None = None

    def check(self) -> None:
        """Raises Invalid naming what the action needs and does not have, or has and does not take."""
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        errors = [FieldError(f"body.{name}", "is needed for this action") for name in _NEEDED[self.action] - given]
        errors += [FieldError(f"body.{name}", "is not for this action") for name in given - _ALLOWED[self.action]]
        if errors:
            errors.sort(key=lambda each: each.field)
            raise Invalid.of(errors)


class BulkRequest(Input):
    operations: Annotated[list[BulkOperation], Field(min_length=1, max_length=MAX_OPERATIONS)]


class BulkResult(Output):
    status: int
    id: ID | None = None
    version: int | None = None
    error: dict[str, JsonValue] | None = Field(None, description="a problem document")


class BulkResponse(Output):
    results: list[BulkResult]
    failed: int


Creator = Callable[[Mapping[str, Any]], Awaitable[Row]]
Updater = Callable[[ObjectId, Mapping[str, Any], Versions], Awaitable[Row]]
Remover = Callable[[ObjectId, Versions], Awaitable[None]]


class BulkWriter:
    """Applies operations one after the other; one that fails does not stop the next, unless the database is away."""

    def __init__(self, create: Creator, update: Updater, remove: Remover) -> None:
        self._create = create
        self._update = update
        self._remove = remove

    async def run(self, request: BulkRequest, once: Once) -> Response:
        """200 with a result per operation. With an Idempotency-Key each operation happens once by itself, so that a
        repeated request does what the first one could not. Raises IdempotencyKeyReused before anything is done."""
        await once.run(_claim)
        results: list[orjson.Fragment] = []
        failed = 0
        away: Unavailable | None = None
        for index, operation in enumerate(request.operations):
            outcome = away or await self._attempt(operation, once.item(index))
            if isinstance(outcome, Response):
                results.append(orjson.Fragment(bytes(outcome.body)))
                continue
            failed += 1
            results.append(orjson.Fragment(to_json({"status": outcome.status, "error": problem_body(outcome)})))
            if away is None and isinstance(outcome, Unavailable):
                away = Unavailable("Not tried, because the database could not serve an operation before this one.")
        return JSON({"results": results, "failed": failed})

    async def _attempt(self, operation: BulkOperation, once: Once) -> Response | VerbatimError:
        try:
            return await once.run(lambda: self._apply(operation))
        except IdempotencyKeyReused:
            raise
        except Exception as error:
            known = as_verbatim_error(error, is_write=True)
            if known is None:
                raise
            return known

    async def _apply(self, operation: BulkOperation) -> Response:
        operation.check()
        id, body = cast("ObjectId", operation.id), cast("dict[str, Any]", operation.body)
        versions = None if operation.version is None else frozenset({operation.version})
        match operation.action:
            case "create":
                return _result(201, await self._create(body))
            case "update":
                return _result(200, await self._update(id, body, versions))
            case "delete":
                await self._remove(id, versions)
                return JSON({"status": 204, "id": id})


async def _claim() -> Response:
    """What the key of the whole request remembers: its fingerprint, so that no other request can go on under it."""
    return Response(status_code=204)


def _result(status: int, row: Row) -> Response:
    return JSON({"status": status, "id": row["_id"], "version": row["version"]})
