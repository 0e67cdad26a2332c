"""Conversations that are kept as trees, of which one branch was shown last."""

import reprlib
from collections.abc import Callable, Mapping

from app.imports.fields import RefusedError


def branch(parents: Mapping[str, str | None], current: object, created: Callable[[str], float]) -> list[str]:
    """The ids from the root to the current node, or to the newest leaf where that is not known.

    `parents`: of each node its parent; None and "" are none. Raises RefusedError when one is missing or its own
    ancestor.
    """
    node_id = current if isinstance(current, str) and current in parents else _newest_leaf(parents, created)
    found: dict[str, None] = {}
    while node_id:
        if node_id not in parents:
            raise RefusedError(f"Node {reprlib.repr(node_id)} is missing from the mapping")
        if node_id in found:
            raise RefusedError(f"Node {reprlib.repr(node_id)} is its own ancestor")
        found[node_id] = None
        node_id = parents[node_id]
    return list(reversed(found))


def _newest_leaf(parents: Mapping[str, str | None], created: Callable[[str], float]) -> str | None:
    inner = set(parents.values())
    leaves = [node_id for node_id in parents if node_id not in inner]
    if parents and not leaves:
        raise RefusedError("Every node of the mapping is its own ancestor")
    # The last of several with the same time, or with none.
    return max(reversed(leaves), key=created, default=None)
