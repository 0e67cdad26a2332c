"""The OpenAPI parameters of a list, derived from the same table that reads them."""

from collections.abc import Mapping
from typing import Any

from app.kit.listing import COUNT_LIMIT, COUNT_MODES, DEFAULT_LIMIT, MAX_LIMIT
from app.kit.resource import Column, Kind, Operator, Resource
from app.kit.schemas import INT64_MAX, INT64_MIN
from app.kit.search import MATCHES, MAX_QUERY_CHARACTERS

Schema = dict[str, Any]

_SCHEMAS: Mapping[Kind, Schema] = {
    "text": {"type": "string"},
    "texts": {"type": "string"},
    "integer": {"type": "integer", "minimum": INT64_MIN, "maximum": INT64_MAX},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "instant": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "id": {"type": "string", "pattern": "^[0-9a-fA-F]{24}$"},
    "json": {},
}

_SENTENCES: Mapping[Operator, str] = {
    "eq": "{label} is this",
    "ne": "{label} is not this",
    "in": "{label} is one of these, separated by commas",
    "gte": "{label} is this or more",
    "gt": "{label} is more than this",
    "lte": "{label} is this or less",
    "lt": "{label} is less than this",
    "exists": "{label} is set (true) or not set (false)",
    "has": "{label} contains this text, whatever its case",
}

_COUNT_SENTENCE = f"Add `total`; an estimate of a filtered list counts no further than {COUNT_LIMIT}"


def list_parameters(resource: Resource, *, paged: bool = True) -> Schema:
    """`openapi_extra` of a route that lists (or, without `paged`, exports) the resource."""
    parameters = [*(_page_parameters(resource) if paged else []), _sort(resource, paged=paged), *_search(resource)]
    return {"parameters": [*parameters, *filter_parameters(resource)]}


def filter_parameters(resource: Resource) -> list[Schema]:
    """The parameters that filter the resource's rows by their columns."""
    return [_filter(name, column, operator) for name, (column, operator) in resource.filters.items()]


def query_parameter(name: str, description: str, schema: Schema, *, required: bool = False) -> Schema:
    """One parameter of the query string, as OpenAPI has it."""
    return {"name": name, "in": "query", "required": required, "description": description, "schema": schema}


def _page_parameters(resource: Resource) -> list[Schema]:
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    return [
        query_parameter("limit", "How many items a page has", limit),
        query_parameter("after", "The `next` of the page before this one", {"type": "string"}),
        query_parameter(
            "before", "The `prev` of the page behind this one; not together with `after`", {"type": "string"}
        ),
        query_parameter(
            "fields", f"Only these, separated by commas: {', '.join(resource.members)}", {"type": "string"}
        ),
        query_parameter("count", _COUNT_SENTENCE, {"type": "string", "enum": list(COUNT_MODES)}),
    ]


def _sort(resource: Resource, *, paged: bool) -> Schema:
    names = [name for column in resource.sortable for name in (column.name, f"-{column.name}")]
    schema = {"type": "string", "enum": names, "default": resource.usual_sort(paged=paged)}
    return query_parameter("sort", "Order; '-' reverses it", schema)


def _search(resource: Resource) -> list[Schema]:
    if not resource.searchable:
        return []
    labels = ", ".join(column.label for column in resource.searchable)
    text = {"type": "string", "minLength": 1, "maxLength": MAX_QUERY_CHARACTERS}
    return [
        query_parameter("q", f"Search in: {labels}; what takes more than two seconds answers a `partial` page", text),
        query_parameter(
            "match", "How `q` is understood", {"type": "string", "enum": list(MATCHES), "default": "literal"}
        ),
        query_parameter("case_sensitive", "Tell capital from small letters", {"type": "boolean", "default": False}),
    ]


def _filter(name: str, column: Column, operator: Operator) -> Schema:
    schema = dict(_SCHEMAS[column.kind])
    if operator == "exists":
        schema = {"type": "boolean"}
    elif operator in {"in", "has"}:
        schema = {"type": "string", "minLength": 1}
    elif column.choices:
        schema = {"type": "string", "enum": list(column.choices)}
    return query_parameter(name, _SENTENCES[operator].format(label=column.label), schema)
