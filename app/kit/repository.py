"""Repositories: the only place where queries are written. Every call takes the scope and puts it into the filter."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar, cast

import pymongo
from bson import ObjectId, decode_all
from bson.codec_options import CodecOptions
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure

from app.kit.clock import now
from app.kit.deadlines import EXPORT_PAGE_SECONDS, LIST_SECONDS, READ_SECONDS, SEARCH_SECONDS, WRITE_SECONDS
from app.kit.documents import StoredDocument
from app.kit.effort import Effort
from app.kit.errors import Forbidden, NotFound, PreconditionFailed, QueryTooExpensive, Unavailable
from app.kit.etag import Versions, etag
from app.kit.listing import COUNT_LIMIT, Listing
from app.kit.pages import Read, Run, open_leaf
from app.kit.paging import Cursors, Page, Position, Sort, after
from app.kit.resource import Resource
from app.kit.scanning import GIVEN_UP, Find, Pace, SearchReader
from app.kit.search import before_patterns
from app.kit.transactions import current_session
from app.kit.turnstile import Turnstile

Row = dict[str, Any]
_CODEC_OPTIONS: CodecOptions[Row] = CodecOptions(tz_aware=True)
_BATCH_SEARCH_SECONDS = 10.0
"""After which a search that fills no batch goes on with the next one."""
D = TypeVar("D", bound=StoredDocument)
_COUNTED_TOO_LONG = (
    "To count what is found needs more time than it may take; leave `count` out, or narrow it with filters."
)


@dataclass(frozen=True)
class Scope:
    """Which rows may be seen: a Mongo filter that is part of every query. Empty means all of them.

    `asker`: who is looking, whose expensive searches take turns with those of others. None is the process itself.
    `seen`: the filter of what they may see, where they may do less than that with it: then they are told so.
    """

    filter: Mapping[str, Any] = field(default_factory=dict)
    asker: Hashable | None = field(default=None, compare=False)
    seen: Mapping[str, Any] | None = field(default=None, compare=False)

    def where(self, *conditions: Mapping[str, Any]) -> dict[str, Any]:
        """The filter of the rows that may be seen and meet the conditions. Patterns are asked of no other rows."""
        conditions = (self.filter, *conditions)
        return _all_of(*conditions, before_patterns(conditions))


EVERYTHING = Scope()


class Repository(Generic[D]):
    """Rows of one resource: raw documents in and out, never validated again on the way to the client."""

    document: ClassVar[type[StoredDocument]]
    resource: ClassVar[Resource]

    pace: ClassVar[Pace] = Pace()
    """How searches read that no index answers."""

    def __init__(self, cursors: Cursors, turnstile: Turnstile | None = None) -> None:
        """`turnstile`: lets searches in that read rows; all repositories of a process share it."""
        self._cursors = cursors
        self._turnstile = turnstile or Turnstile()

    @property
    def collection(self) -> AsyncCollection[Row]:
        return self.document.get_pymongo_collection()

    async def get(self, scope: Scope, id: ObjectId, *, fields: tuple[str, ...] = ()) -> Row:
        """The row; raises NotFound when it is absent or outside the scope, Forbidden when it is only seen."""
        condition = {"_id": id, **self.resource.live_filter}
        row = await self.find(scope, condition, fields=fields)
        if row is not None:
            return row
        if scope.seen is not None and await self.find(Scope(scope.seen), condition, fields=("id",)) is not None:
            raise Forbidden(f"You may see this {self.resource.singular}, but not do that with it.")
        raise NotFound(f"There is no such {self.resource.singular}.")

    async def find(self, scope: Scope, condition: Mapping[str, Any], *, fields: tuple[str, ...] = ()) -> Row | None:
        """The first row of the condition, with its version whatever the fields."""
        projection = self.resource.project(fields) if fields else self.resource.projection
        with pymongo.timeout(READ_SECONDS):
            return await self.collection.find_one(scope.where(condition), projection, session=current_session())

    async def of_ids(self, scope: Scope, ids: Collection[ObjectId], *, fields: tuple[str, ...]) -> dict[ObjectId, Row]:
        """The rows of up to a batch of ids that may be seen, by their ids."""
        if not ids:
            return {}
        condition = scope.where({"_id": {"$in": list(ids)}})
        with pymongo.timeout(EXPORT_PAGE_SECONDS):
            rows = await self.collection.find(
                condition, self.resource.project(fields), batch_size=len(ids) + 1, session=current_session()
            ).to_list()
        return {row["_id"]: row for row in rows}

    async def page(self, scope: Scope, listing: Listing, condition: Mapping[str, Any] | None = None) -> Page:
        """One page of the listing, shorter than its limit where the texts are long or a search ran out of time; its
        cursors say what lies around.

        `condition`: what the route itself adds to the filter. Raises InvalidCursor, QueryTooExpensive, TooManySearches.
        """
        condition = condition or {}
        fingerprint = listing.fingerprint + repr(condition).encode()
        position = None if listing.cursor is None else self._cursors.decode(fingerprint, listing.cursor)
        async with patience(), self.effort(scope) as effort:
            read = self._reader(scope, listing, [condition, *listing.conditions], effort)
            leaf = await open_leaf(read, listing.sort, listing.limit, position, is_backward=listing.is_backward)
            if leaf.partial and listing.count is not None:
                raise QueryTooExpensive(_COUNTED_TOO_LONG)
            total = await self._count(scope.where(condition, *listing.all_conditions), listing, effort)
        following, previous = (
            None if edge is None else self._cursors.encode(fingerprint, edge) for edge in (leaf.next, leaf.prev)
        )
        return Page(leaf.rows, following, previous, total, leaf.partial)

    def effort(self, scope: Scope, seconds: float = SEARCH_SECONDS) -> Effort:
        """What a request may spend on rows that no index answers: a page of a search, unless said otherwise."""
        return Effort(self._turnstile, scope.asker, seconds)

    def _reader(self, scope: Scope, listing: Listing, filters: Sequence[Mapping[str, Any]], effort: Effort) -> Read:
        """How the list is read. `filters`: its conditions without the scope and without `listing.searches`."""
        find = self._finder(scope, listing)

        async def read(sort: Sort, start: Position | None, size: int) -> Run:
            conditions = filters if start is None else [*filters, after(sort, start)]
            return await find(conditions, sort, size, seconds=_working_seconds(listing))

        if not listing.is_search:
            return read
        is_indexed = any(search.is_narrowed for search in listing.searches)
        return SearchReader(find, filters, listing.searches, effort, self.pace, is_indexed=is_indexed)

    def _finder(self, scope: Scope, listing: Listing, *, hint: str | None = None) -> Find:
        """Reads rows of the list. `hint`: the name of the index that is used."""
        projection = self._projection(listing)

        async def find(
            conditions: Sequence[Mapping[str, Any]],
            sort: Sort,
            size: int,
            *,
            seconds: float,
            skip: int = 0,
            keys_only: bool = False,
        ) -> Run:
            return await self._read(
                scope.where(*conditions),
                {"_id": 1, sort.path: 1} if keys_only else projection,
                sort,
                size,
                skip=skip,
                session=current_session(),
                max_time_ms=max(1, int(1000 * seconds)),  # 0 would be for ever
                hint=hint,
            )

        return find

    async def batches(
        self,
        scope: Scope,
        listing: Listing,
        condition: Mapping[str, Any] | None = None,
        *,
        size: int = 1000,
        start: Position | None = None,
    ) -> AsyncGenerator[list[Row], None]:
        """All rows of the listing, or those behind `start`, in batches of up to `size` rows and 16 MiB.

        Each batch is its own query behind the last key, so that it may be retried and no cursor has to outlive a
        primary. Where a change could move a row from one batch into another, all of them read one snapshot, which the
        database keeps for five minutes.
        """
        conditions = [condition or {}, *listing.conditions]
        position = start
        async with self._still(listing.sort) as session:
            while True:
                run = await self._batch(scope, listing, conditions, position, size, session)
                if run.rows:
                    yield run.rows
                position = run.end(listing.sort)
                if position is None:
                    return

    async def estimate(self, scope: Scope, listing: Listing, condition: Mapping[str, Any]) -> int | None:
        """About how many rows the listing has; None when that takes longer to find out than it is worth."""
        if listing.is_search:
            return None
        where = scope.where(condition, *listing.conditions)
        try:
            return await self.collection.count_documents(where, maxTimeMS=int(1000 * SEARCH_SECONDS))
        except OperationFailure as error:
            if error.code not in GIVEN_UP:
                raise
            return None

    async def _batch(
        self,
        scope: Scope,
        listing: Listing,
        conditions: Sequence[Mapping[str, Any]],
        position: Position | None,
        size: int,
        session: AsyncClientSession | None,
    ) -> Run:
        """The next rows behind a place; of a search that takes long perhaps none yet, but a place to go on from."""
        if listing.is_search and not listing.sort.mutable:
            async with patience(), Effort(self._turnstile, None, _BATCH_SEARCH_SECONDS) as effort:
                return await self._reader(scope, listing, conditions, effort)(listing.sort, position, size)
        selected = [*conditions, *(search.indexed_condition for search in listing.searches)]
        if position is not None:
            selected.append(after(listing.sort, position))
        with pymongo.timeout(EXPORT_PAGE_SECONDS):
            return await self._read(
                scope.where(*selected), self._projection(listing), listing.sort, size, session=session
            )

    @asynccontextmanager
    async def _still(self, sort: Sort) -> AsyncIterator[AsyncClientSession | None]:
        """A session in which rows keep their places in the sort."""
        if not sort.mutable:
            yield current_session()
            return
        async with self.collection.database.client.start_session(snapshot=True) as session:
            yield session

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
            "$set": {**self.resource.searched(change.get("$set", {})), "updated_at": now()},
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

    async def _read(
        self,
        condition: Mapping[str, Any],
        projection: Mapping[str, int],
        sort: Sort,
        size: int,
        *,
        session: AsyncClientSession | None,
        skip: int = 0,
        max_time_ms: int | None = None,
        hint: str | None = None,
    ) -> Run:
        """Up to `size` rows behind the skipped ones, as many as one reply of the database holds (16 MiB).

        One row more than wanted is asked for, which tells.
        """
        cursor = self.collection.find_raw_batches(
            condition,
            projection,
            sort=sort.keys,
            skip=skip,
            limit=size + 1,
            batch_size=size + 2,  # one over the limit, or the server would leave the cursor open
            max_time_ms=max_time_ms,
            hint=hint,
            session=session,
        )
        try:
            reply = cast("bytes", await anext(cursor, b""))  # the driver's stub has the type of a decoded row
            rows = decode_all(reply, _CODEC_OPTIONS)
            return Run(rows[:size], len(rows) <= size and not cursor.alive, bytes=len(reply))
        finally:
            await cursor.close()

    async def _count(self, condition: Mapping[str, Any], listing: Listing, effort: Effort) -> int | None:
        if listing.count is None:
            return None
        if listing.count == "estimate" and not condition:
            return await self.collection.estimated_document_count()
        if listing.is_search:
            await effort.take_place()
        limit = {"limit": COUNT_LIMIT} if listing.count == "estimate" else {}
        try:
            return await self.collection.count_documents(
                condition, **limit, maxTimeMS=int(1000 * SEARCH_SECONDS), session=current_session()
            )
        except OperationFailure as error:
            if error.code not in GIVEN_UP:
                raise
            raise QueryTooExpensive(_COUNTED_TOO_LONG) from error


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


def _working_seconds(listing: Listing) -> float:
    """How long the database itself may work on a page that is no search."""
    return LIST_SECONDS if listing.count is None else SEARCH_SECONDS


@asynccontextmanager
async def patience(working: float = 0.0) -> AsyncIterator[None]:
    """Wait for a primary as long as a read may, and `working` seconds beside; raises Unavailable.

    Not `pymongo.timeout`: it puts its own limit in the place of the working time, and the driver then gives up in the
    same instant as the server, so that nobody knows whether the query was expensive or the database away.
    """
    try:
        async with asyncio.timeout(READ_SECONDS + working):
            yield
    except TimeoutError as error:
        raise Unavailable("The database does not answer right now; retry.", retry_after=2) from error
