"""What an export job is to write: the stored words of a client, understood and checked."""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

from app.exports.layout import FileRequest, Layout, check_file, lay_out
from app.exports.model import ExportSpec
from app.exports.service import ScopeOf, Sources, with_joins
from app.exports.tables import TABLES, Table
from app.kit.errors import FieldError, Invalid
from app.kit.export import FORMATS
from app.kit.listing import Listing, parse_listing
from app.kit.paging import Position, Sort
from app.kit.repository import Row
from app.kit.resource import Resource

OVERLAP = timedelta(minutes=2)
"""How far a continuation reaches back behind the snapshot it continues: rows are stamped before their transaction
commits, which may take its deadline of 20 s on top of the 60 s that the database lets one live."""
_BY_CHANGE = Sort("updated_at")
"""Not `mutable`: below the upper bound of a snapshot a row that changes can only leave, for the next export to have."""
_OWN = frozenset({"resource", "format", "columns", "raw", "tz", "since"})


@dataclass(frozen=True)
class Wanted:
    """An export of a snapshot: which rows in which order, and how they are laid out."""

    layout: Layout
    listing: Listing
    condition: Mapping[str, Any]

    @property
    def sort(self) -> Sort:
        return self.listing.sort

    def rows(
        self, sources: Sources, scope_of: ScopeOf, *, size: int, start: Position | None
    ) -> AsyncGenerator[list[Row], None]:
        """The rows with those they belong to, from behind `start` on."""
        table = self.layout.table
        batches = sources[table.name].batches(
            scope_of(table.resource), self.listing, self.condition, size=size, start=start
        )
        return with_joins(batches, self.layout.joins, sources, scope_of)

    async def estimate(self, sources: Sources, scope_of: ScopeOf) -> int | None:
        """About how many rows there are; None when that is hard to say."""
        table = self.layout.table
        return await sources[table.name].estimate(scope_of(table.resource), self.listing, self.condition)


def understood(
    spec: ExportSpec,
    snapshot_at: datetime,
    since: datetime | None,
    *,
    place: str = "body",
    faults: Sequence[FieldError] = (),
) -> Wanted:
    """Raises Invalid naming everything that is wrong. `place`: where the words are in the request. `faults`: what is
    known to be wrong with it."""
    try:
        return _understood(spec, snapshot_at, since, faults)
    except Invalid as error:
        raise _placed(error, place) from error


def _understood(spec: ExportSpec, snapshot_at: datetime, since: datetime | None, known: Sequence[FieldError]) -> Wanted:
    columns = None if spec.columns is None else ",".join(spec.columns)
    request = FileRequest(spec.format, columns, raw=spec.raw, tz=spec.tz)
    table = TABLES.get(spec.resource)
    faults = [*known, *check_file(table, request)]
    if table is None:
        raise Invalid.of([FieldError("query.resource", f"is one of {', '.join(TABLES)}"), *faults])
    faults += _faults_of_job(table, spec)
    listing = parse_listing(table.resource, spec.filters.items(), paged=False, faults=faults)
    layout = lay_out(table, request)
    listing = replace(listing, fields=layout.fields)
    if since is None:
        return Wanted(layout, listing, {"_id": {"$lt": ObjectId.from_datetime(snapshot_at)}})
    return Wanted(layout, replace(listing, sort=_BY_CHANGE), _changed(table.resource, since - OVERLAP, snapshot_at))


def _changed(resource: Resource, start: datetime, end: datetime) -> Mapping[str, Any]:
    """The rows that were changed last between these instants, and those that came then with the times of before."""
    if resource.arrival_path is None:
        return {"updated_at": {"$gte": start, "$lt": end}}
    arrived = {resource.arrival_path: {"$gte": start, "$lt": end}}
    return {"updated_at": {"$lt": end}, "$or": [{"updated_at": {"$gte": start}}, arrived]}


def _faults_of_job(table: Table, spec: ExportSpec) -> Iterator[FieldError]:
    """What a file that is sent at once may have, but no job."""
    if spec.format in FORMATS and not FORMATS[spec.format].is_installed:
        yield FieldError("query.format", "needs a package that this server lacks; /capabilities names what it has")
    sort = spec.filters.get("sort", table.resource.usual_sort(paged=False)).removeprefix("-")
    column = table.resource.by_name.get(sort)
    if column is not None and column.sortable and column.mutable:
        yield FieldError("query.sort", "names a value that may change while the job runs; sort by created_at")


def _placed(error: Invalid, place: str) -> Invalid:
    """The same, of members of a body in the place of parameters of a query string."""
    fields = error.members["fields"]
    return type(error).of([FieldError(f"{place}.{_member(each['field'])}", each["message"]) for each in fields])


def _member(parameter: str) -> str:
    name = parameter.removeprefix("query.")
    return name if name in _OWN else f"filters.{name}"
