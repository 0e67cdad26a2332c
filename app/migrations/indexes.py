"""Indexes: what the documents declare, what the database has, and how one becomes the other.

An index is ours when a document declares it, now or in an older version (`RETIRED`). Those that somebody has made by
hand are left alone, unless one takes the place of ours. Names carry a version: an index that is to change gets a new
name, so that servers of both versions have theirs.
"""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pymongo
from beanie import Document
from bson import decode, encode
from pymongo import IndexModel
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure

from app.database import DatabaseUnavailable, retried
from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.kit.repository import Row
from app.migrations.duplicates import explain_duplicates
from app.migrations.model import Step

Kind = Literal["missing", "changed", "retired"]

RETIRED: Mapping[str, frozenset[str]] = {
    "users": frozenset({"windows_v1"}),
    "conversations": frozenset({"source_v1", "windows_v1", "owner_windows_v1"}),
    "turns": frozenset({"idempotency_key_v1", "running_v1", "conversation_v1"}),
    "messages": frozenset({"summary_v1", "unindexed_v1"}),
}
"""Indexes of older versions by collection. A name never comes back."""

_DUPLICATE, _OTHER_NAME, _OTHER_KEYS, _NOT_FOUND, _NO_COLLECTION = 11000, 85, 86, 27, 26
_COMPARED = ("unique", "sparse", "expireAfterSeconds", "partialFilterExpression", "collation")


@dataclass(frozen=True)
class Drift:
    """An index that differs from what is declared."""

    collection: AsyncCollection[Row]
    name: str
    kind: Kind
    model: IndexModel | None = None

    def __str__(self) -> str:
        return f"{self.collection.name}.{self.name}"


def declared(document: type[Document]) -> list[IndexModel]:
    """The indexes that a document declares."""
    return [each.index for each in document.get_settings().indexes or ()]


async def drift(documents: Iterable[type[Document]], *kinds: Kind) -> list[Drift]:
    """What differs, of these kinds; read from the database's catalogue alone."""
    found: list[Drift] = []
    for document in documents:
        collection = document.get_pymongo_collection()
        with pymongo.timeout(READ_SECONDS):
            present = await collection.index_information()
        found += _drift_of(collection, declared(document), present)
    return [each for each in found if not kinds or each.kind in kinds]


def _drift_of(
    collection: AsyncCollection[Row], models: Sequence[IndexModel], present: Mapping[str, Any]
) -> list[Drift]:
    found = []
    for model in models:
        name = model.document["name"]
        if name not in present:
            found.append(Drift(collection, name, "missing", model))
        elif not _is_same(model, present[name]):
            found.append(Drift(collection, name, "changed", model))
    retired = sorted(RETIRED.get(collection.name, frozenset()) & present.keys())
    return found + [Drift(collection, name, "retired") for name in retired]


def _is_same(model: IndexModel, present: Mapping[str, Any]) -> bool:
    wanted = model.document
    if list(wanted["key"].items()) != [(path, direction) for path, direction in present["key"]]:
        return False
    return _options(wanted) == _options(present)


def _options(index: Mapping[str, Any]) -> Mapping[str, Any]:
    """What may be compared, as the database gives it back: the driver reads instants of the catalogue without a zone.

    What is false is left out, but not an expiry after no seconds.
    """
    given = {name: index[name] for name in _COMPARED if index.get(name) is not None and index[name] is not False}
    return decode(encode(given))


async def build(found: Sequence[Drift]) -> AsyncGenerator[Step, None]:
    """Build the indexes that are missing, those of a collection together: it is read once. Others write meanwhile.

    Raises DatabaseUnavailable with what stands in the way.
    """
    by_collection: dict[str, list[Drift]] = {}
    for each in found:
        by_collection.setdefault(each.collection.name, []).append(each)
    done = 0
    for name, drifts in by_collection.items():
        yield Step(done, len(found), what=name)
        await _create(drifts)
        done += len(drifts)
    yield Step(done, len(found))


async def _create(drifts: Sequence[Drift]) -> None:
    collection = drifts[0].collection
    models = [each.model for each in drifts if each.model is not None]
    try:
        await retried(lambda: collection.create_indexes(models))  # no deadline: it takes what it takes
    except OperationFailure as error:
        if error.code == _DUPLICATE:
            raise await explain_duplicates(collection, models) from error
        if error.code in {_OTHER_NAME, _OTHER_KEYS}:
            names = ", ".join(str(each) for each in drifts)
            raise DatabaseUnavailable(
                f"An index that was made by hand is in the way of one of these: {names}. Drop it, or run: "
                f"verbatim migrate --rebuild-indexes. MongoDB says: {error.details and error.details.get('errmsg')}"
            ) from error
        raise


async def rebuild(found: Sequence[Drift]) -> AsyncGenerator[Step, None]:
    """Drop what has changed and build it as it is declared, and build what is missing; drop what is retired.

    Until a changed one is there again its queries are slow, and a unique one guards nothing.
    """
    for each in found:
        if each.kind != "missing":
            await drop(each.collection, each.name)
    wanted = [each for each in found if each.model is not None]
    for each in wanted:
        await _drop_under_other_name(each)
    async for step in build(wanted):
        yield step


async def _drop_under_other_name(wanted: Drift) -> None:
    """The database takes no second index of the same keys and options, whatever its name."""
    with pymongo.timeout(READ_SECONDS):
        present = await wanted.collection.index_information()
    for name, index in present.items():
        if name != wanted.name and wanted.model is not None and _is_same(wanted.model, index):
            await drop(wanted.collection, name)


async def drop(collection: AsyncCollection[Row], name: str) -> None:
    """Drop an index, if nobody else has."""
    try:
        with pymongo.timeout(WRITE_SECONDS):
            await collection.drop_index(name)
    except OperationFailure as error:
        if error.code not in {_NOT_FOUND, _NO_COLLECTION}:
            raise
