"""Exports: all rows of a list as a file, in constant memory, complete or visibly broken off."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app import __version__
from app.kit.cancellation import raise_if_cancelled
from app.kit.clock import now
from app.kit.errors import FieldError, Invalid
from app.kit.export import FORMATS, ExportOptions, Format, Heading
from app.kit.export.worker import closing
from app.kit.listing import Listing
from app.kit.repository import Repository, Row, Scope
from app.kit.resource import Column, Resource


@dataclass(frozen=True)
class Export:
    """A file to send: its format, a name, and its bytes as they come."""

    format: Format
    filename: str
    chunks: AsyncGenerator[bytes, None]


def export_rows(
    rows: Repository[Any], scope: Scope, listing: Listing, *, format: str, columns: str | None, raw: bool = False
) -> Export:
    """An export of everything the listing finds, with the named columns or all of them. Raises Invalid."""
    resource = listing.resource
    chosen = choose_columns(resource, columns)
    if format not in FORMATS:
        raise Invalid.field("query.format", f"is one of {', '.join(FORMATS)}")
    writer = FORMATS[format]
    started = now()
    about = {
        "Title": f"Verbatim: {resource.name}",
        "Filter": ", ".join(f"{name}={text}" for name, text in sorted(listing.asked.items())) or "none",
        "Sort": ("-" if listing.sort.descending else "") + ("id" if listing.sort.path == "_id" else listing.sort.path),
        "Exported at": started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "Version": __version__,
    }
    chunks = writer.stream(
        [Heading(column.name, column.label, column.kind) for column in chosen],
        _picked(rows.batches(scope, replace(listing, fields=_fields(chosen))), chosen),
        about,
        ExportOptions(raw=raw, sheet_name=resource.name.capitalize()),
    )
    return Export(writer, f"{resource.name}-{started:%Y%m%dT%H%M%SZ}.{writer.extension}", chunks)


def choose_columns(resource: Resource, names: str | None) -> Sequence[Column]:
    """The columns of a comma-separated list, in its order; all exported ones without. Raises Invalid."""
    if names is None:
        return resource.exported
    known = {column.name: column for column in resource.exported}
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",")))
    unknown = [name for name in wanted if name not in known]
    if unknown:
        sentence = f"has no {unknown[0]!r}; there are {', '.join(known)}"
        raise Invalid(f"columns {sentence}", fields=[FieldError("query.columns", sentence)])
    return [known[name] for name in wanted]


def _fields(columns: Sequence[Column]) -> tuple[str, ...]:
    """What has to be read for these columns."""
    return tuple(column.name for column in columns)


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
