"""Exports: all rows of a list as a file, in constant memory, complete or visibly broken off."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app import __version__
from app.kit.clock import now
from app.kit.errors import FieldError, Invalid
from app.kit.export import FORMATS, ExportOptions, Format, Heading
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
        _values(rows.batches(scope, listing), chosen),
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


async def _values(batches: AsyncIterator[list[Row]], columns: Sequence[Column]) -> AsyncIterator[list[list[Any]]]:
    paths = [column.path.split(".") for column in columns]
    async for rows in batches:
        yield [[_value(row, path) for path in paths] for row in rows]


def _value(row: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = row
    for segment in path:
        value = value.get(segment) if isinstance(value, Mapping) else None
    return value
