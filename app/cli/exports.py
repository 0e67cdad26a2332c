"""`verbatim export`: a list as a file."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from app.cli.running import DataOption, console, run, sentences
from app.exports.layout import FileRequest
from app.exports.service import Export, export_rows
from app.exports.tables import TABLES
from app.kit.errors import Conflict, Invalid
from app.kit.export import FORMATS
from app.kit.listing import Listing, parse_listing
from app.kit.repository import EVERYTHING
from app.kit.resource import Resource
from app.services import Services


def export(
    resource: Annotated[Literal["users", "conversations", "messages"], typer.Argument(help="What to export.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; its ending names the format.")],
    format: Annotated[
        Literal["csv", "xlsx", "jsonl"] | None, typer.Option(help="Instead of the ending of --output.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Separated by commas; all without. On request: conversation.title, owner.email, ..."),
    ] = None,
    filter: Annotated[
        list[str] | None,
        typer.Option(help="As in the API: role=user, created_at__gte=2026-01-01, q=text, sort=-created_at."),
    ] = None,
    raw: Annotated[bool, typer.Option(help="CSV for programs: no byte order mark, no guard against formulas.")] = False,
    force: Annotated[bool, typer.Option(help="Replace the file if it is there.")] = False,
    data: DataOption = None,
) -> None:
    """Write users, conversations or messages to CSV, XLSX or JSON Lines. The file appears when it is complete."""
    table = TABLES[resource]
    with sentences():
        listing = _listing(table.resource, filter or [])
        wanted = format or _format_of(output)
        if output.exists() and not force:
            raise Conflict(f"{output} exists; say --force to replace it.")

    async def work(services: Services) -> int:
        request = FileRequest(format=wanted, columns=columns, raw=raw)
        made = export_rows(services.sources, lambda _: EVERYTHING, table, listing, request)
        with console.status(f"Writing {escape(output.name)}"):
            return await _save(made, output)

    written = run(data, work)
    print(f"{output}: {written:,} bytes")


def _listing(resource: Resource, filters: Sequence[str]) -> Listing:
    pairs = [each.partition("=") for each in filters]
    for text, (_, separator, _) in zip(filters, pairs, strict=True):
        if not separator:
            raise Invalid(f"--filter {text}: write it as name=value.")
    try:
        return parse_listing(resource, [(name, value) for name, _, value in pairs], paged=False)
    except Invalid as error:
        raise Invalid(error.detail.replace("query.", "--filter ")) from error


def _format_of(output: Path) -> str:
    name = output.suffix.removeprefix(".").lower()
    if name not in FORMATS:
        raise Invalid(f"The ending of {output.name} names no format; say --format {', '.join(FORMATS)}.")
    return name


async def _save(export: Export, output: Path) -> int:
    """Put the file in its place once it is complete; answers its bytes. Raises Conflict when it cannot be written."""
    partial = output.with_name(f"{output.name}.part")
    try:
        try:
            written = await _write(export, partial)
            await asyncio.to_thread(partial.replace, output)
        finally:
            await asyncio.to_thread(partial.unlink, missing_ok=True)
    except OSError as error:
        raise Conflict(f"{output} cannot be written: {error.strerror}.") from error
    return written


async def _write(export: Export, path: Path) -> int:
    written = 0
    async with aclosing(export.chunks) as chunks:
        file = await asyncio.to_thread(path.open, "wb")
        try:
            async for chunk in chunks:
                written += await asyncio.to_thread(file.write, chunk)
        finally:
            await asyncio.to_thread(file.close)
    return written
