"""Repositories: the only place where queries are written. Every call takes the scope and puts it into the filter."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import pymongo
from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.asynchronous.collection import AsyncCollection

from app.kit.clock import now
from app.kit.deadlines import EXPORT_PAGE_SECONDS, READ_SECONDS, SEARCH_SECONDS, WRITE_SECONDS
from app.kit.documents import StoredDocument
from app.kit.errors import NotFound, PreconditionFailed
from app.kit.etag import Versions, etag
from app.kit.listing import Listing
from app.kit.paging import Cursors, Page, Position, after
from app.kit.resource import Resource
from app.kit.transactions import current_session

Row = dict[str, Any]
D = TypeVar("D", bound=StoredDocument)

BATCH_CHARACTERS = 8 * 1024 * 1024
COUNT_LIMIT = 10_000
"""An estimated total of a filtered list is counted no further than this."""


@dataclass(frozen=True)
class Scope:
    """Which rows may be seen: a Mongo filter that is part of every query. Empty means all of them."""

    filter: Mapping[str, Any] = field(default_factory=dict)

    def where(self, *conditions: Mapping[str, Any]) -> dict[str, Any]:
        """The filter of the rows that may be seen and meet the conditions."""
        return _all_of(self.filter, *conditions)


EVERYTHING = Scope()


class Repository(Generic[D]):
    """Rows of one resource: raw documents in and out, never validated again on the way to the client."""

    document: ClassVar[type[StoredDocument]]
    resource: ClassVar[Resource]

    def __init__(self, cursors: Cursors) -> None:
        self._cursors = cursors

    @property
    def collection(self) -> AsyncCollection[Row]:
        return self.document.get_pymongo_collection()

    async def get(self, scope: Scope, id: ObjectId, *, fields: tuple[str, ...] = ()) -> Row:
        """The row; raises NotFound when it is absent or outside the scope."""
        row = await self.find(scope, {"_id": id, **self.resource.live_filter}, fields=fields)
        if row is None:
            raise NotFound(f"There is no such {self.resource.singular}.")
        return row

    async def find(self, scope: Scope, condition: Mapping[str, Any], *, fields: tuple[str, ...] = ()) -> Row | None:
        """The first row of the condition, with its version whatever the fields."""
        projection = self.resource.project(fields) if fields else self.resource.projection
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one(scope.where(condition), projection, session=current_session())

    async def page(self, scope: Scope, listing: Listing, condition: Mapping[str, Any] | None = None) -> Page:
        """One page of the listing; raises InvalidCursor. `condition`: what the route itself adds to the filter."""
        condition = condition or {}
        fingerprint = listing.fingerprint + repr(condition).encode()
        filters: list[Mapping[str, Any]] = [condition, *listing.conditions]
        selected = list(filters)
        if listing.after is not None:
            selected.append(after(listing.sort, self._cursors.decode(fingerprint, listing.after)))
        with _read_deadline(listing):
            rows = await self._rows(scope.where(*selected), listing, self._projection(listing), listing.limit + 1)
            total = await self._count(scope.where(*filters), listing)
        following = None
        if len(rows) > listing.limit:
            rows = rows[: listing.limit]
            following = self._cursors.encode(fingerprint, Position.of(rows[-1], listing.sort))
        return Page(rows, following, total)

    async def batches(
        self, scope: Scope, listing: Listing, condition: Mapping[str, Any] | None = None, *, size: int = 1000
    ) -> AsyncIterator[list[Row]]:
        """All rows of the listing in batches of up to `size` rows and about 8 MiB of text.

        Each batch is its own query behind the last key, so that it may be retried and no cursor has to outlive a
        primary.
        """
        position: Position | None = None
        while True:
            selected = [condition or {}, *listing.conditions]
            if position is not None:
                selected.append(after(listing.sort, position))
            rows, is_last = await self._batch(scope.where(*selected), listing, size)
            if rows:
                yield rows
                position = Position.of(rows[-1], listing.sort)
            if is_last:
                return

    async def _batch(self, condition: Mapping[str, Any], listing: Listing, size: int) -> tuple[list[Row], bool]:
        """The next rows, and whether there are no more behind them."""
        rows: list[Row] = []
        characters = 0
        with pymongo.timeout(EXPORT_PAGE_SECONDS):
            cursor = self.collection.find(condition, self.resource.projection, sort=listing.sort.keys, limit=size)
            cursor.batch_size(size)
            try:
                async for row in cursor:
                    rows.append(row)
                    characters += sum(len(value) for value in row.values() if isinstance(value, str))
                    if characters > BATCH_CHARACTERS:
                        return rows, False
            finally:
                await cursor.close()
        return rows, len(rows) < size

    async def insert(self, document: D) -> Row:
        """Store a new document and answer its row; a DuplicateKeyError is the caller's to understand."""
        row = document.to_row()
        with pymongo.timeout(WRITE_SECONDS):
            await self.collection.insert_one(row, session=current_session())
        return row

    async def update(self, scope: Scope, id: ObjectId, change: Mapping[str, Any], *, versions: Versions = None) -> Row:
        """Apply a Mongo update, count the version up, answer the new row. Raises NotFound or PreconditionFailed."""
        condition = scope.where({"_id": id, **self.resource.live_filter}, _of_version(versions))
        stamped = {
            **change,
            "$set": {**change.get("$set", {}), "updated_at": now()},
            "$inc": {**change.get("$inc", {}), "version": 1},
        }
        with pymongo.timeout(WRITE_SECONDS):
            row = await self.collection.find_one_and_update(
                condition,
                stamped,
                projection=self.resource.projection,
                return_document=ReturnDocument.AFTER,
                session=current_session(),
            )
        return row if row is not None else await self._missed(scope, id)

    async def delete(self, scope: Scope, id: ObjectId, *, versions: Versions = None) -> None:
        """Remove the row; raises NotFound or PreconditionFailed."""
        condition = scope.where({"_id": id}, _of_version(versions))
        with pymongo.timeout(WRITE_SECONDS):
            result = await self.collection.delete_one(condition, session=current_session())
        if not result.deleted_count:
            await self._missed(scope, id)

    async def _missed(self, scope: Scope, id: ObjectId) -> Row:
        """Why a conditional write found nothing: absent, or of another version. Always raises."""
        row = await self.get(scope, id)
        raise PreconditionFailed(
            f"The {self.resource.singular} is at version {row['version']}; `current` shows it.",
            headers={"ETag": etag(row["version"])},
            current=self.resource.render(row),
        )

    def _projection(self, listing: Listing) -> dict[str, int]:
        if not listing.fields:
            return self.resource.projection
        fields = listing.fields
        if not any(listing.sort.path == name or listing.sort.path.startswith(f"{name}.") for name in fields):
            fields = (*fields, listing.sort.path)  # the next cursor needs it
        return self.resource.project(tuple(name for name in fields if name != "_id"))

    async def _rows(
        self, condition: Mapping[str, Any], listing: Listing, projection: Mapping[str, int], limit: int
    ) -> list[Row]:
        # One batch holds the page: the driver would otherwise stop at 101 rows and ask again.
        cursor = self.collection.find(
            condition, projection, sort=listing.sort.keys, limit=limit, batch_size=limit, session=current_session()
        )
        return await cursor.to_list()

    async def _count(self, condition: Mapping[str, Any], listing: Listing) -> int | None:
        if listing.count is None:
            return None
        if listing.count == "exact":
            return await self.collection.count_documents(condition, session=current_session())
        if not condition:
            return await self.collection.estimated_document_count()
        return await self.collection.count_documents(condition, limit=COUNT_LIMIT, session=current_session())


def _all_of(*conditions: Mapping[str, Any]) -> dict[str, Any]:
    """The conjunction; kept flat where no key meets another, which reads better in the server's logs."""
    present = [condition for condition in conditions if condition]
    merged: dict[str, Any] = {}
    for condition in present:
        if merged.keys() & condition.keys():
            return {"$and": [dict(each) for each in present]}
        merged.update(condition)
    return merged


def _of_version(versions: Versions) -> dict[str, Any]:
    return {} if versions is None else {"version": {"$in": sorted(versions)}}


def _read_deadline(listing: Listing) -> AbstractContextManager[None]:
    return pymongo.timeout(SEARCH_SECONDS if listing.is_search or listing.count == "exact" else READ_SECONDS)
