"""A resource, declared once: the table from which parameters, filters, search, exports and documentation derive."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from app.kit.normal_form import stored_forms
from app.kit.windows import with_windows

Kind = Literal["text", "texts", "integer", "number", "boolean", "instant", "date", "id", "json"]
"""What a column holds; `texts` is a list of strings, `date` is stored as YYYY-MM-DD, `json` is anything else."""

Operator = Literal["eq", "ne", "in", "gte", "gt", "lte", "lt", "exists", "has"]

_ORDERED: tuple[Operator, ...] = ("eq", "ne", "in", "gte", "gt", "lte", "lt", "exists")
OPERATORS: Mapping[Kind, tuple[Operator, ...]] = {
    "text": ("eq", "ne", "in", "exists", "has"),
    "texts": ("eq", "ne", "in", "exists", "has"),
    "integer": _ORDERED,
    "number": _ORDERED,
    "instant": _ORDERED,
    "date": _ORDERED,
    "id": ("eq", "ne", "in", "exists"),
    "boolean": ("eq", "ne", "exists"),
    "json": ("exists",),
}


@dataclass(frozen=True)
class Column:
    """One column: its name on the wire (dotted when nested), its heading, and what a client may do with it."""

    name: str
    label: str
    kind: Kind = "text"
    choices: tuple[str, ...] = ()
    nullable: bool = False
    filterable: bool = False
    sortable: bool = False
    unique: bool = False
    """No two rows of a list share its value, so a sort by it needs no tie-break."""
    mutable: bool = False
    """A row's value may change, and with it the row's place in a list that is sorted by it."""
    searchable: bool = False
    exported: bool = True

    @property
    def path(self) -> str:
        """Where it is stored."""
        return "_id" if self.name == "id" else self.name

    @property
    def operators(self) -> tuple[Operator, ...]:
        return OPERATORS[self.kind] if self.filterable else ()


@dataclass(frozen=True)
class Resource:
    """A table of columns. `owner_path` is the stored field that says whose row it is; `reader_path` and `writer_path`
    hold the users it is shared with, where rows can be."""

    name: str
    columns: tuple[Column, ...]
    singular: str = "row"
    owner_path: str = "owner_id"
    reader_path: str | None = None
    writer_path: str | None = None
    arrival_path: str | None = None
    """Where a row says when it came, if its times may be older than that."""
    default_sort: str = "-created_at"
    live_filter: Mapping[str, Any] = field(default_factory=dict)
    """Mongo conditions of rows that are there for clients; a list that filters by one of their columns lifts it."""
    windowed: tuple[str, ...] = ()
    """Stored paths whose texts are searched through the rows' windows."""
    normalized: tuple[str, ...] = ()
    """Stored paths of texts whose normal forms are stored beside them."""

    def usual_sort(self, *, paged: bool) -> str:
        """The sort unless a client names another: lists begin with the newest row, exports with the oldest."""
        return self.default_sort if paged else self.default_sort.removeprefix("-")

    @cached_property
    def by_name(self) -> Mapping[str, Column]:
        return {column.name: column for column in self.columns}

    @cached_property
    def filters(self) -> Mapping[str, tuple[Column, Operator]]:
        """The parameters that filter a list: a column's name for equality, `<name>__<operator>` for the others."""
        return {
            column.name if operator == "eq" else f"{column.name}__{operator}": (column, operator)
            for column in self.columns
            for operator in column.operators
        }

    @cached_property
    def members(self) -> tuple[str, ...]:
        """The members of a row on the wire, in order: the first segments of the columns' names."""
        return tuple(dict.fromkeys(column.name.partition(".")[0] for column in self.columns))

    @cached_property
    def sortable(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.sortable)

    @cached_property
    def searchable(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.searchable)

    @cached_property
    def is_search_indexed(self) -> bool:
        """Whether the windows hold all that a search looks through."""
        return {column.path for column in self.searchable} <= set(self.windowed)

    def searched(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values to be stored, with what searches need of them: windows and normal forms. Raises ValueError."""
        return {**with_windows(self.windowed, values), **stored_forms(self.normalized, values)}

    @cached_property
    def exported(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.exported)

    @cached_property
    def projection(self) -> dict[str, int]:
        """What a read takes from the database: the wire's members, the version for the ETag, and nothing else, so that
        secrets never leave it."""
        return {"_id": 1, "version": 1} | {member: 1 for member in self.members if member != "id"}

    def project(self, fields: tuple[str, ...]) -> dict[str, int]:
        """The projection of the chosen fields; id and version are always among them."""
        return {"_id": 1, "version": 1} | {name: 1 for name in fields if name != "id"}

    def render(self, row: Mapping[str, Any], fields: tuple[str, ...] = ()) -> dict[str, Any]:
        """A stored row as its wire object: every member in order, or only those of the chosen fields."""
        chosen = {name.partition(".")[0] for name in fields} if fields else None
        wire = {"id": row["_id"]}
        for member in self.members:
            if member != "id" and (chosen is None or member in chosen):
                wire[member] = row.get(member)
        return wire
