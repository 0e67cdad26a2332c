"""Bulk writes: up to 1000 operations in one request, each with its own result."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Literal

import orjson
from bson import ObjectId
from pydantic import Field, JsonValue
from starlette.responses import Response

from app.kit.errors import Invalid
from app.kit.etag import Versions
from app.kit.idempotency import Once
from app.kit.problems import as_verbatim_error, problem_body
from app.kit.repository import Row
from app.kit.responses import JSON, to_json
from app.kit.schemas import ID, Input, Output

MAX_OPERATIONS = 1000

BulkAction = Literal["create", "update", "delete"]


class BulkOperation(Input):
    """`create` needs a body, `update` (a merge patch) an id and a body, `delete` an id."""

    action: BulkAction
    id: ID | None = None
    version: int | None = Field(None, ge=1, description="the version you mean, as If-Match would say")
    body: dict[str, JsonValue] | None = None


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
    """Applies operations one after the other; one that fails does not stop the next."""

    def __init__(self, create: Creator, update: Updater, remove: Remover) -> None:
        self._create = create
        self._update = update
        self._remove = remove

    async def run(self, request: BulkRequest, once: Once) -> Response:
        """200 with a result per operation. With an Idempotency-Key each operation happens once by itself."""
        results = []
        failed = 0
        for index, operation in enumerate(request.operations):
            try:
                response = await once.item(index).run(lambda operation=operation: self._apply(operation))  # type: ignore[misc]
                results.append(orjson.Fragment(bytes(response.body)))
            except Exception as error:
                known = as_verbatim_error(error, is_write=True)
                if known is None:
                    raise
                failed += 1
                results.append(orjson.Fragment(to_json({"status": known.status, "error": problem_body(known)})))
        return JSON({"results": results, "failed": failed})

    async def _apply(self, operation: BulkOperation) -> Response:
        versions = None if operation.version is None else frozenset({operation.version})
        match operation.action:
            case "create":
                row = await self._create(_needed("body", operation.body))
                return _result(201, row)
            case "update":
                row = await self._update(_needed("id", operation.id), _needed("body", operation.body), versions)
                return _result(200, row)
            case "delete":
                await self._remove(_needed("id", operation.id), versions)
                return JSON({"status": 204, "id": operation.id})


def _result(status: int, row: Row) -> Response:
    return JSON({"status": status, "id": row["_id"], "version": row["version"]})


def _needed(name: str, value: Any) -> Any:
    if value is None:
        raise Invalid.field(f"body.{name}", "is needed for this action")
    return value
