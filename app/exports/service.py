"""Exports: all rows of a list as a file, in constant memory, complete or visibly broken off."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.exports.layout import FileRequest, about, lay_out
from app.exports.tables import Join, Table
from app.kit.clock import now
from app.kit.export import Format
from app.kit.export.worker import closing
from app.kit.listing import Listing
from app.kit.repository import Repository, Row, Scope
from app.kit.resource import Resource

Sources = Mapping[str, Repository[Any]]
"""The repositories of all tables, by the resources' names."""

ScopeOf = Callable[[Resource], Scope]
"""Which rows of a resource whoever exports may see."""


@dataclass(frozen=True)
class Export:
    """A file to send: its format, a name, and its bytes as they come."""

    format: Format
    filename: str
    chunks: AsyncGenerator[bytes, None]


def export_rows(sources: Sources, scope_of: ScopeOf, table: Table, listing: Listing, request: FileRequest) -> Export:
    """An export of everything the listing finds. Raises Invalid."""
    layout = lay_out(table, request)
    started = now()
    rows = sources[table.name].batches(scope_of(table.resource), replace(listing, fields=layout.fields))
    joined = with_joins(rows, layout.joins, sources, scope_of)
    chunks = layout.stream(joined, about(table, listing, started))
    return Export(layout.format, layout.filename(started), chunks)


async def with_joins(
    batches: AsyncGenerator[list[Row], None], joins: Sequence[Join], sources: Sources, scope_of: ScopeOf
) -> AsyncGenerator[list[Row], None]:
    """The batches with the rows they belong to inside them, under the joins' names: one query a batch and join.

    What may not be seen, or is gone, is None. Closes `batches`.
    """
    async with closing(batches):
        async for rows in batches:
            for join in joins:
                ids = {row[join.by] for row in rows if row.get(join.by)}
                others = await sources[join.resource.name].of_ids(scope_of(join.resource), ids, fields=join.names)
                for row in rows:
                    row[join.name] = others.get(row[join.by]) if row.get(join.by) else None
            yield rows
