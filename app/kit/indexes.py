"""The indexes of lists: for each order one that keeps it, for each filter one that finds its rows in the usual order.

Equality first, then the order, then the id, which breaks ties. Where rows have an owner every index comes twice: for
the lists of one owner, and for those of everybody. `docs/decisions/indexes.md` says what they cost.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel


def ordered_by(*paths: str, owner: str | None = None) -> list[IndexModel]:
    """For each path the list in its order."""
    return [index for path in paths for index in _for_all(path, [], path, owner, {})]


def found_by(
    *paths: str, order: str = "created_at", owner: str | None = None, only: Mapping[str, Any] | None = None
) -> list[IndexModel]:
    """For each path the rows that have a value, in the usual order.

    `only`: the condition of the values that are worth an index, because they are rare. The others are found soon enough
    along the order of the list.
    """
    return [
        index
        for path in paths
        for index in _for_all(path, [(path, ASCENDING)], order, owner, {} if only is None else {path: dict(only)})
    ]


PRESENT: Mapping[str, Any] = {"$gt": ""}
"""Any text at all, so that null takes no room. Not $type: the planner does not see that a string is one."""


def one_of(values: Sequence[str]) -> Mapping[str, Any]:
    """Only these values (needs MongoDB 6)."""
    return {"$in": list(values)}


def found_unless(common: str, path: str, *, owner: str | None = None) -> list[IndexModel]:
    """The rows that have a text other than the common one (needs MongoDB 6)."""
    rare = {"$or": [{path: {"$lt": common}}, {path: {"$gt": common}}]}
    return _for_all(path, [(path, ASCENDING)], "created_at", owner, rare)


def lacking(path: str, *, name: str) -> IndexModel:
    """The rows that lack a value, in the usual order: those that something has still to be done with.

    The path is part of it because Beanie takes two indexes of the same keys for one.
    """
    keys = [(path, ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)]
    return IndexModel(keys, name=name, partialFilterExpression={path: None})


def summed_by(order: str, *paths: str) -> IndexModel:
    """Everything that summaries of a range of the order need, so that they read the index alone."""
    return IndexModel([(order, DESCENDING), *((path, ASCENDING) for path in paths)], name="summary_v1")


def _for_all(
    name: str, equal: list[tuple[str, int]], order: str, owner: str | None, partial: Mapping[str, Any]
) -> list[IndexModel]:
    keys = [*equal, (order, DESCENDING), ("_id", DESCENDING)]
    options = {"partialFilterExpression": dict(partial)} if partial else {}
    indexes = [IndexModel(keys, name=f"{name}_v1", **options)]
    if owner is not None:
        indexes.append(IndexModel([(owner, ASCENDING), *keys], name=f"owner_{name}_v1", **options))
    return indexes
