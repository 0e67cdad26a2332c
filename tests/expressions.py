"""What the database makes of an expression that holds a pattern."""

from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

_NO_PATTERN = 51111
"""MongoDB's code."""


def evaluated(client: MongoClient[dict[str, Any]], expression: dict[str, Any]) -> list[Any] | None:
    """The array that it answers; None when that is no pattern."""
    try:
        row = client.admin.aggregate([{"$documents": [{}]}, {"$project": {"found": expression}}]).next()
    except OperationFailure as error:
        assert error.code == _NO_PATTERN, error  # noqa: PT017 most are patterns
        return None
    found: list[Any] = row["found"]
    return found
