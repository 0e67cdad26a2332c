"""Why a unique index cannot be built, in sentences that name the rows and say what to do."""

from collections.abc import Mapping, Sequence
from typing import Any

import pymongo
from pymongo import IndexModel
from pymongo.asynchronous.collection import AsyncCollection

from app.database import DatabaseUnavailable
from app.kit.repository import Row

MOST_VALUES = 5
MOST_ROWS = 5
_SECONDS = 120.0
_SHOWN_CHARACTERS = 60
_SECRET = frozenset({"hash"})
"""Fields whose values are not shown."""


class DuplicateValues(DatabaseUnavailable):
    """`brief`: the same without the values, which may be of people: for what is stored."""

    def __init__(self, collection: str, sentence: str) -> None:
        super().__init__(sentence)
        self.brief = (
            f"A unique index of {collection} cannot be built, because values come more than once. "
            "This names them and says what to do: verbatim migrate"
        )


async def explain_duplicates(collection: AsyncCollection[Row], models: Sequence[IndexModel]) -> DuplicateValues:
    """Which values come more than once under the unique ones of these indexes."""
    sentences = [
        _sentence(collection.name, model, groups)
        for model in models
        if model.document.get("unique") and (groups := await _groups(collection, model))
    ]
    advice = (
        "Nothing was changed. Keep one row of each and give the others another value or remove them, best in a copy "
        "first, then run: verbatim migrate"
    )
    if not sentences:  # somebody has just removed them
        sentences = [f"A unique index of {collection.name} could not be built: a value came twice."]
    return DuplicateValues(collection.name, " ".join([*sentences, advice]))


async def _groups(collection: AsyncCollection[Row], model: IndexModel) -> list[Row]:
    """The first values that come more than once, with the ids of some of their rows."""
    paths = list(model.document["key"])
    key = {f"k{number}": {"$ifNull": [f"${path}", None]} for number, path in enumerate(paths)}
    pipeline: list[Mapping[str, Any]] = [
        {"$match": model.document.get("partialFilterExpression", {})},
        {"$group": {"_id": key, "count": {"$sum": 1}, "rows": {"$firstN": {"input": "$_id", "n": MOST_ROWS}}}},
        {"$match": {"count": {"$gt": 1}}},
        {"$limit": MOST_VALUES + 1},
    ]
    with pymongo.timeout(_SECONDS):
        return await (await collection.aggregate(pipeline, allowDiskUse=True)).to_list()


def _sentence(collection: str, model: IndexModel, groups: Sequence[Row]) -> str:
    paths = list(model.document["key"])
    values = "; ".join(_value(paths, each) for each in groups[:MOST_VALUES])
    more = "; and more" if len(groups) > MOST_VALUES else ""
    return (
        f"The unique index {model.document['name']} of {collection} cannot be built, because values come more than "
        f"once: {values}{more}."
    )


def _value(paths: Sequence[str], group: Row) -> str:
    shown = ", ".join(f"{path} {_shown(path, group['_id'][f'k{number}'])}" for number, path in enumerate(paths))
    ids = ", ".join(str(id) for id in group["rows"])
    return f"{shown} ({group['count']} rows, _id: {ids}{', ...' if group['count'] > MOST_ROWS else ''})"


def _shown(path: str, value: Any) -> str:
    if path in _SECRET:
        return "(a secret's hash)"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
