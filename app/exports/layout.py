"""How a file is laid out: which columns of a table, in which format, with what said about it."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from app import __version__
from app.exports.tables import Join, Table
from app.kit.cancellation import raise_if_cancelled
from app.kit.errors import FieldError, Invalid
from app.kit.export import FORMATS, ExportOptions, Format, Heading
from app.kit.export.worker import closing
from app.kit.listing import Listing
from app.kit.repository import Row
from app.kit.resource import Column
from app.kit.zones import check_time_zone


@dataclass(frozen=True)
class FileRequest:
    """What a client says about the file it wants; `columns` are names separated by commas, None for all, `tz` is the
    time zone in which instants are shown."""

    format: str = "csv"
    columns: str | None = None
    raw: bool = False
    tz: str = "UTC"


@dataclass(frozen=True)
class Layout:
    """A file's columns and format."""

    table: Table
    columns: Sequence[Column]
    format: Format
    options: ExportOptions

    @property
    def joins(self) -> tuple[Join, ...]:
        return self.table.joins_of(self.columns)

    @property
    def fields(self) -> tuple[str, ...]:
        """What has to be read of the table's own rows."""
        joins = self.joins
        joined = {join.name for join in joins}
        own = [column.name for column in self.columns if column.name.partition(".")[0] not in joined]
        return tuple(dict.fromkeys([*own, *(join.by for join in joins)]))

    def filename(self, started: datetime) -> str:
        return f"{self.table.name}-{started:%Y%m%dT%H%M%SZ}.{self.format.extension}"

    def stream(
        self, batches: AsyncIterator[list[Row]], about: Mapping[str, str], *, continues: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """The file of these rows, whose joined rows lie in them under the joins' names. Closes `batches`.

        `continues`: rather what comes behind the file of the rows before them.
        """
        headings = [Heading(column.name, column.label, column.kind) for column in self.columns]
        options = replace(self.options, continues=continues)
        return self.format.stream(headings, _picked(batches, self.columns), about, options)


def check_file(table: Table | None, request: FileRequest) -> list[FieldError]:
    """What is wrong with the request; of an unknown table what can be told without it."""
    faults = []
    if request.format not in FORMATS:
        faults.append(FieldError("query.format", f"is one of {', '.join(FORMATS)}"))
    if table is not None and (unknown := table.unknown(request.columns)):
        names = ", ".join(map(repr, unknown))
        faults.append(FieldError("query.columns", f"has no {names}; there are {', '.join(table.columns)}"))
    try:
        check_time_zone(request.tz)
    except ValueError as error:
        faults.append(FieldError("query.tz", str(error)))
    return faults


def lay_out(table: Table, request: FileRequest) -> Layout:
    """Raises Invalid naming everything that is wrong with the request."""
    if faults := check_file(table, request):
        raise Invalid.of(faults)
    options = ExportOptions(raw=request.raw, tz=request.tz, sheet_name=table.name.capitalize())
    return Layout(table, table.choose(request.columns), FORMATS[request.format], options)


def about(table: Table, listing: Listing, started: datetime) -> dict[str, str]:
    """What a file says of itself."""
    return {
        "Title": f"Verbatim: {table.name}",
        "Filter": ", ".join(f"{name}={text}" for name, text in sorted(listing.asked.items())) or "none",
        "Sort": ("-" if listing.sort.descending else "") + ("id" if listing.sort.path == "_id" else listing.sort.path),
        "Exported at": started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "Version": __version__,
    }


async def _picked(
    batches: AsyncIterator[list[Row]], columns: Sequence[Column]
) -> AsyncGenerator[Iterable[list[Any]], None]:
    """The columns' values of each row, taken from it when the writer's thread reads them."""
    pick = _picker([column.path for column in columns])
    async with closing(batches):
        async for rows in batches:
            raise_if_cancelled()
            yield map(pick, rows)


def _picker(paths: Sequence[str]) -> Callable[[Row], list[Any]]:
    """A function that takes the values of these paths from a row; what is absent is None."""
    members = [path.partition(".")[0] for path in paths]
    nested = [(index, path.split(".")[1:]) for index, path in enumerate(paths) if "." in path]

    def pick(row: Row) -> list[Any]:
        values = list(map(row.get, members))
        for index, rest in nested:
            if values[index] is not None:
                values[index] = _within(values[index], rest)
        return values

    return pick


def _within(value: Any, path: Sequence[str]) -> Any:
    for segment in path:
        value = value.get(segment) if isinstance(value, dict) else None
    return value
