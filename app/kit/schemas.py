"""Base classes and field types of everything that crosses the edge.

Three schemas a resource: Create and Update forbid unknown fields; Read describes what is answered and has no defaults.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from bson import ObjectId
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints

T = TypeVar("T", bound=BaseModel)

# Self-hosted deployments have addresses such as ana@mail.local, which the library would refuse as reserved names.
SPECIAL_USE_DOMAIN_NAMES.clear()

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


class Input(BaseModel):
    """What a client sends: unknown fields are refused, numbers and booleans are not guessed from strings."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Output(BaseModel):
    """What a client gets. Rows are rendered straight from the database; this class documents their shape."""

    model_config = ConfigDict(extra="forbid")


def _to_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("name the time zone, for example 2026-01-31T12:00:00Z")
    try:
        utc = value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("lies outside the years 1 to 9999 in UTC") from error
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def _normalize_email(value: str) -> str:
    try:
        checked = validate_email(value, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError as error:
        raise ValueError(str(error)) from error
    return checked.normalized.casefold()


def parse_object_id(value: object) -> ObjectId:
    """The ObjectId of 24 hex digits; raises ValueError with a sentence."""
    if isinstance(value, ObjectId):
        return value
    if isinstance(value, str) and len(value) == 24 and ObjectId.is_valid(value):
        return ObjectId(value)
    raise ValueError("an id has 24 hexadecimal digits")


class _ObjectIdSchema:
    """Lets pydantic and OpenAPI treat an ObjectId as a string of 24 hex digits."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema  # noqa: PLC0415 only needed while schemas are built

        return core_schema.no_info_plain_validator_function(
            parse_object_id, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[0-9a-fA-F]{24}$", "example": "66a0c0ffee66a0c0ffee66a0"}


ID = Annotated[ObjectId, _ObjectIdSchema]
"""An ObjectId, shown as 24 hex digits."""

Instant = Annotated[datetime, Field(strict=False), AfterValidator(_to_utc)]
"""A moment with its time zone, kept as UTC with milliseconds."""

Email = Annotated[str, StringConstraints(max_length=320), AfterValidator(_normalize_email)]
"""A syntactically valid address, normalized and case-folded, so that it can be unique."""

Tag = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]

Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^$.\x00][^.\x00]*$")],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(max_length=16),
]
"""At most 16 pairs of strings: keys of 64 characters without `.` or a leading `$`, values of 512."""

Count = Annotated[int, Field(ge=0, le=INT64_MAX)]

Seconds = Annotated[float, PlainSerializer(lambda value: round(value, 3))]


def as_optional_document(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a merge patch for `model`: every field optional, null removes it."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    schema.pop("required", None)
    schema["title"] = f"{model.__name__}Patch"
    optional: dict[str, Any] = _inlined(schema, definitions)
    return optional


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema with what it refers to in its place: nothing else of the document has to name it."""
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        rest = {name: value for name, value in schema.items() if name != "$ref"}
        return _inlined({**definitions[schema["$ref"].rpartition("/")[2]], **rest}, definitions)
    return {name: _inlined(value, definitions) for name, value in schema.items()}


class Page(Output, Generic[T]):
    """A page of a list."""

    items: list[T]
    next: str | None = Field(description="`after` of the next page; null at the end")
    prev: str | None = Field(description="`before` of the previous page; null at the beginning")
    total: int | None = Field(default=None, description="with count=exact or count=estimate")
    partial: bool | None = Field(
        default=None,
        description="true when the search ran out of time before the page was full: go on with `next` (or `prev`)",
    )
