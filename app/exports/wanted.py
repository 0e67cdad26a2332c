"""What an export job is to write: the stored words of a client, understood and checked."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

from app.exports.layout import FileRequest, Layout, lay_out
from app.exports.model import ExportSpec
from app.exports.service import ScopeOf, Sources, with_joins
from app.exports.tables import TABLES
from app.kit.errors import FieldError, Invalid
from app.kit.listing import Listing, parse_listing
from app.kit.paging import Position, Sort
from app.kit.repository import Row

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


def understood(spec: ExportSpec, snapshot_at: datetime, since: datetime | None, *, place: str = "body") -> Wanted:
    """Raises Invalid. `place`: where the words are in the request."""
    try:
        return _understood(spec, snapshot_at, since)
    except Invalid as error:
        raise _placed(error, place) from error


def _understood(spec: ExportSpec, snapshot_at: datetime, since: datetime | None) -> Wanted:
    if spec.resource not in TABLES:
        raise Invalid.field("query.resource", f"is one of {', '.join(TABLES)}")
    table = TABLES[spec.resource]
    columns = None if spec.columns is None else ",".join(spec.columns)
    layout = lay_out(table, FileRequest(spec.format, columns, raw=spec.raw, tz=spec.tz))
    if not layout.format.is_installed:
        raise Invalid.field("query.format", "needs a package that this server lacks; /capabilities names what it has")
    listing = parse_listing(table.resource, spec.filters.items(), paged=False)
    if listing.sort.mutable:
        raise Invalid.field("query.sort", "names a value that may change while the job runs; sort by created_at")
    listing = replace(listing, fields=layout.fields)
    if since is None:
        return Wanted(layout, listing, {"_id": {"$lt": ObjectId.from_datetime(snapshot_at)}})
    changed = {"updated_at": {"$gte": since - OVERLAP, "$lt": snapshot_at}}
    return Wanted(layout, replace(listing, sort=_BY_CHANGE), changed)


def _placed(error: Invalid, place: str) -> Invalid:
    """The same, of members of a body in the place of parameters of a query string."""
    fields = [FieldError(f"{place}.{_member(each['field'])}", each["message"]) for each in error.members["fields"]]
    detail = "; ".join(f"{each.field}: {each.message}" for each in fields)
    return type(error)(detail, fields=fields)


def _member(parameter: str) -> str:
    name = parameter.removeprefix("query.")
    return name if name in _OWN else f"filters.{name}"
