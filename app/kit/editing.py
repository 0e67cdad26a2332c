"""Applying a merge patch to a stored row without losing a concurrent change."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from app.kit.errors import PreconditionFailed
from app.kit.etag import Versions
from app.kit.merge_patch import merge_patch
from app.kit.repository import Row

S = TypeVar("S", bound=BaseModel)
ATTEMPTS = 20


async def edited(
    read: Callable[[], Awaitable[Row]],
    patch: Mapping[str, Any],
    schema: type[S],
    write: Callable[[S, Versions], Awaitable[Row]],
    versions: Versions,
    *,
    member: str | None = None,
) -> Row:
    """Read the row, merge `patch` into what `schema` can express of it (or of its `member`), check, and write.

    The write is bound to the version that was read. When another write came between, it is done again from what is
    stored then, unless the client named the version it means. Raises what `write` raises.
    """
    for attempt in range(1, ATTEMPTS + 1):
        row = await read()
        current = row if member is None else row[member]
        merged = validated(schema, merge_patch(_writable(schema, current), dict(patch)))
        seen = frozenset({row["version"]})
        try:
            return await write(merged, seen if versions is None else versions & seen)
        except PreconditionFailed:
            if versions is not None or attempt == ATTEMPTS:
                raise
    raise AssertionError("the loop returns or raises")


def _writable(schema: type[BaseModel], row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name in schema.model_fields and value is not None}


def validated(schema: type[S], value: Any) -> S:
    """`value` as `schema`; raises RequestValidationError as a route's own body would."""
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        errors = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
        raise RequestValidationError(errors) from error
