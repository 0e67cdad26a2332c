"""`verbatim export`: a list as a file."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

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
    resource: Annotated[
        Literal["users", "conversations", "messages", "turns", "audit"], typer.Argument(help="What to export.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; its ending names the format.")],
    format: Annotated[
        Literal["csv", "xlsx", "jsonl", "parquet"] | None, typer.Option(help="Instead of the ending of --output.")
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
    tz: Annotated[str, typer.Option(help="Time zone in which instants are shown, such as Asia/Shanghai.")] = "UTC",
    force: Annotated[bool, typer.Option(help="Replace the file if it is there.")] = False,
    data: DataOption = None,
) -> None:
    """Write users, conversations, messages, turns or the audit log to a file, whole or not at all."""
    table = TABLES[resource]
    with sentences():
        listing = filtered(table.resource, filter or [])
        wanted = format or _format_of(output)
        require_absent(output, force=force)

    async def work(services: Services) -> int:
        request = FileRequest(wanted, columns, raw=raw, tz=tz)
        try:
            made = export_rows(services.sources, lambda _: EVERYTHING, table, listing, request)
        except Invalid as error:
            raise Invalid(error.detail.replace("query.", "--")) from error
        with console.status(f"Writing {escape(output.name)}"):
            return await _save(made, output)

    written = run(data, work)
    print(f"{output}: {written:,} bytes")


def require_absent(*paths: Path, force: bool) -> None:
    """Raise Conflict when one of the files is there and is not to be replaced."""
    for path in paths:
        if path.exists() and not force:
            raise Conflict(f"{path} exists; say --force to replace it.")


def filtered(resource: Resource, filters: Sequence[str]) -> Listing:
    """What the options --filter say. Raises Invalid naming them."""
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
    async with aclosing(export.chunks) as chunks, appearing(output) as (file,):
        async for chunk in chunks:
            await asyncio.to_thread(file.write, chunk)
        return file.tell()


@asynccontextmanager
async def appearing(*paths: Path, is_private: bool = False) -> AsyncIterator[list[BinaryIO]]:
    """Files to write, which appear under their names, all of them, when the block ends well.

    `is_private`: only their owner may read them. Raises Conflict when they cannot be written.
    """
    opener = _private if is_private else None
    partial = [path.with_name(f"{path.name}.part") for path in paths]
    try:
        async with AsyncExitStack() as stack:
            for each in partial:
                stack.push_async_callback(asyncio.to_thread, each.unlink, missing_ok=True)
            files: list[BinaryIO] = []
            for each in partial:
                files.append(await asyncio.to_thread(open, each, "wb", opener=opener))
                stack.push_async_callback(asyncio.to_thread, files[-1].close)
            yield files
            for file, each, path in zip(files, partial, paths, strict=True):
                await asyncio.to_thread(file.close)
                await asyncio.to_thread(each.replace, path)
    except OSError as error:
        name = str(error.filename or paths[0]).removesuffix(".part")
        raise Conflict(f"{name} cannot be written: {error.strerror}.") from error


def _private(path: str, flags: int) -> int:
    """Open a file that its owner alone may read, also when it was there already."""
    descriptor = os.open(path, flags, 0o600)
    Path(path).chmod(0o600)
    return descriptor
