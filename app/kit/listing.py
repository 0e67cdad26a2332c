"""Reading the query string of a list: every parameter derives from the resource's table, every other is refused."""

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from hashlib import blake2b
from typing import Any, Literal

from app.kit.errors import FieldError, Invalid, InvalidPattern
from app.kit.paging import Sort
from app.kit.resource import Column, Kind, Operator, Resource
from app.kit.schemas import parse_object_id
from app.kit.search import FORBIDDEN, MATCHES, Match, Search

DEFAULT_LIMIT = 20
MAX_LIMIT = 1000
MAX_CHOICES = 100
COUNT_LIMIT = 10_000
"""An estimated total of a filtered list is counted no further than this."""

CountMode = Literal["exact", "estimate"]
COUNT_MODES: tuple[CountMode, ...] = ("exact", "estimate")


@dataclass(frozen=True)
class Listing:
    """What a client asked of a list, checked and translated.

    `conditions` is the Mongo filter without the scope and without what looks into texts.
    """

    resource: Resource
    conditions: tuple[dict[str, Any], ...]
    sort: Sort
    search: Search | None = None
    holding: tuple[Search, ...] = ()
    """The filters that look into texts."""
    limit: int = DEFAULT_LIMIT
    cursor: str | None = None
    is_backward: bool = False
    """Whether the page ends before the cursor instead of beginning behind it."""
    fields: tuple[str, ...] = ()
    count: CountMode | None = None
    asked: Mapping[str, str] = field(default_factory=dict)
    """The filters and search as they were asked, for fingerprints and for the account an export gives of itself."""

    @property
    def searches(self) -> tuple[Search, ...]:
        """All that has to be found in the texts of a row."""
        return self.holding if self.search is None else (self.search, *self.holding)

    @property
    def is_search(self) -> bool:
        return bool(self.searches)

    @property
    def all_conditions(self) -> tuple[Mapping[str, Any], ...]:
        """The Mongo filter without the scope."""
        return (*(search.indexed_condition for search in self.searches), *self.conditions)

    @property
    def fingerprint(self) -> bytes:
        """Tells one list from another: resource, sort and filters, but not the page."""
        text = repr((self.resource.name, self.sort, sorted(self.asked.items())))
        return blake2b(text.encode(), digest_size=16).digest()


def parse_listing(
    resource: Resource,
    parameters: Iterable[tuple[str, str]],
    *,
    paged: bool = True,
    max_limit: int = MAX_LIMIT,
    beside: Collection[str] = (),
    faults: Sequence[FieldError] = (),
) -> Listing:
    """Read `parameters`; without `paged` (an export) there is no limit, cursor, count or projection.

    `beside`: parameters that the route reads itself; they only tell this list from others. `faults`: what it found
    there. Raises Invalid naming every parameter at fault.
    """
    asked, errors = _unique(parameters)
    errors.extend(faults)
    values = {name: text for name, text in asked.items() if name not in beside}
    own = _own_parameters(resource, paged=paged)
    filters = {name: text for name, text in values.items() if name not in own}
    read = [_read(errors, name, partial(_filter, resource, name, text)) for name, text in filters.items()]
    sort = _read(errors, "sort", partial(_sort, resource, values.get("sort", resource.usual_sort(paged=paged))))
    limit = _read(errors, "limit", partial(_limit, values, max_limit))
    fields = _read(errors, "fields", partial(_fields, resource, values))
    count = _read(errors, "count", partial(_count, values))
    cursor = _read(errors, "before", partial(_cursor, values))
    search = _search(resource, values, errors)
    if errors:
        kind = InvalidPattern if [error.message for error in errors] == [FORBIDDEN] else Invalid
        raise kind.of(errors)
    filtered = [resource.filters[name] for name in filters]
    return Listing(
        resource=resource,
        conditions=(*(each for each in read if not isinstance(each, Search)), *_live(resource, filtered)),
        sort=sort,
        search=search,
        holding=tuple(each for each in read if isinstance(each, Search)),
        limit=limit,
        cursor=cursor,
        is_backward="before" in values,
        fields=fields,
        count=count,
        asked={name: text for name, text in asked.items() if name not in {"sort", *_PAGE_ONLY}},
    )


def parse_boolean(name: str, text: str) -> bool:
    """A parameter that is 'true' or 'false'; raises Invalid naming it."""
    try:
        return _boolean(text)
    except ValueError as error:
        raise Invalid.field(f"query.{name}", str(error)) from error


def check_boolean(name: str, text: str) -> list[FieldError]:
    """What is wrong with a parameter that is 'true' or 'false'."""
    errors: list[FieldError] = []
    _read(errors, name, partial(_boolean, text))
    return errors


_PAGE_ONLY = frozenset({"limit", "after", "before", "fields", "count"})
_SEARCH_ONLY = frozenset({"q", "match", "case_sensitive"})


def _own_parameters(resource: Resource, *, paged: bool) -> frozenset[str]:
    """The parameters of every list that are not filters by a column."""
    return frozenset({"sort"}) | (_PAGE_ONLY if paged else set()) | (_SEARCH_ONLY if resource.searchable else set())


def _unique(parameters: Iterable[tuple[str, str]]) -> tuple[dict[str, str], list[FieldError]]:
    values: dict[str, str] = {}
    errors: list[FieldError] = []
    for name, text in parameters:
        if name in values:
            errors.append(FieldError(f"query.{name}", "is given twice"))
        values[name] = text
    return values, errors


def _read(errors: list[FieldError], name: str, read: Callable[[], Any]) -> Any:
    """What `read` answers; None when it refuses, which goes to `errors` under the parameter's name."""
    try:
        return read()
    except (ValueError, InvalidPattern) as error:
        errors.append(FieldError(f"query.{name}", str(error)))
        return None


def _sort(resource: Resource, text: str) -> Sort:
    name = text.removeprefix("-")
    column = resource.by_name.get(name)
    if column is None or not column.sortable:
        names = ", ".join(each.name for each in resource.sortable)
        raise ValueError(f"can be one of {names}, with '-' before it for the reverse")
    unique = column.unique or column.path == "_id"
    return Sort(column.path, descending=text != name, nullable=column.nullable, unique=unique, mutable=column.mutable)


def _limit(values: Mapping[str, str], most: int) -> int:
    text = values.get("limit", str(DEFAULT_LIMIT))
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= most:
        raise ValueError(f"is a whole number from 1 to {most}")
    return int(text)


def _cursor(values: Mapping[str, str]) -> str | None:
    if "after" in values and "before" in values:
        raise ValueError("cannot be given together with 'after'")
    return values.get("before", values.get("after"))


def _fields(resource: Resource, values: Mapping[str, str]) -> tuple[str, ...]:
    if "fields" not in values:
        return ()
    names = tuple(dict.fromkeys(name.strip() for name in values["fields"].split(",")))
    known = {*resource.by_name, *resource.members}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"has no {unknown[0]!r}; there are {', '.join(resource.members)}")
    # MongoDB refuses a projection of both a member and a part of it.
    return tuple(name for name in names if "." not in name or name.partition(".")[0] not in names)


def _count(values: Mapping[str, str]) -> CountMode | None:
    if "count" not in values:
        return None
    for mode in COUNT_MODES:
        if values["count"] == mode:
            return mode
    raise ValueError("is 'exact' or 'estimate'")


def _search(resource: Resource, values: Mapping[str, str], errors: list[FieldError]) -> Search | None:
    if not resource.searchable:
        return None
    # Where these are at fault, `q` may have faults of its own.
    match: Match = _read(errors, "match", lambda: _match(values.get("match", "literal"))) or "literal"
    is_exact = bool(_read(errors, "case_sensitive", lambda: _boolean(values.get("case_sensitive", "false"))))
    if "q" not in values:
        return None
    paths = tuple(column.path for column in resource.searchable)
    options = match, is_exact, resource.is_search_indexed, resource.normalized
    search: Search | None = _read(errors, "q", lambda: Search(paths, values["q"], *options))
    return search


def _match(text: str) -> Match:
    for match in MATCHES:
        if text == match:
            return match
    raise ValueError(f"is one of {', '.join(MATCHES)}")


def _live(resource: Resource, filtered: Iterable[tuple[Column, Operator]]) -> list[dict[str, Any]]:
    """The resource's own conditions, but for the columns whose values the client names."""
    paths = {column.path for column, operator in filtered if operator in {"eq", "in"}}
    return [{path: value} for path, value in resource.live_filter.items() if path not in paths]


def _filter(resource: Resource, name: str, text: str) -> dict[str, Any] | Search:
    if name not in resource.filters:
        raise ValueError("is not a parameter of this list")
    column, operator = resource.filters[name]
    if operator == "exists":
        return {column.path: {"$ne": None}} if _boolean(text) else {column.path: None}
    if operator == "has":
        return Search(
            (column.path,), text, has_windows=column.path in resource.windowed, normalized=resource.normalized
        )
    if operator == "in":
        if not text:
            raise ValueError("is empty; name values separated by commas")
        choices = text.split(",")
        if len(choices) > MAX_CHOICES:
            raise ValueError(f"takes at most {MAX_CHOICES} values")
        return {column.path: {"$in": [_value(column, choice) for choice in choices]}}
    return {column.path: {f"${operator}": _value(column, text)}}


def _value(column: Column, text: str) -> Any:
    if column.choices and text not in column.choices:
        raise ValueError(f"is one of {', '.join(column.choices)}")
    return _VALUES[column.kind](text)


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character")
    return text


def _integer(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text) or not -(2**63) <= int(text) < 2**63:
        raise ValueError("is a whole number")
    return int(text)


_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")


def _number(text: str) -> float:
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise ValueError("is a number")
    return value


def _boolean(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("is 'true' or 'false'")
    return text == "true"


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
        # A date alone, or a time without zone, is read as UTC.
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("is an instant such as 2026-01-31 or 2026-01-31T12:00:00Z (a plus sign as %2B)") from error


def _date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise ValueError("is a date such as 2026-01-31") from error


_VALUES: Mapping[Kind, Callable[[str], Any]] = {
    "text": _text,
    "texts": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "instant": _instant,
    "date": _date,
    "id": parse_object_id,
}
