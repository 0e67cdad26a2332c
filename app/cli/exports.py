"""`verbatim export`: a list as a file."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.running import DataOption, console, run
from app.conversations.resource import CONVERSATIONS, MESSAGES
from app.exports.service import export_rows
from app.kit.errors import Conflict, Invalid
from app.kit.listing import parse_listing
from app.kit.repository import EVERYTHING
from app.services import Services
from app.users.resource import USERS

_RESOURCES = {resource.name: resource for resource in (USERS, CONVERSATIONS, MESSAGES)}


def export(
    resource: Annotated[Literal["users", "conversations", "messages"], typer.Argument(help="What to export.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; its ending names the format.")],
    format: Annotated[
        Literal["csv", "xlsx", "jsonl"] | None, typer.Option(help="Instead of the ending of --output.")
    ] = None,
    columns: Annotated[str | None, typer.Option(help="Separated by commas; all without.")] = None,
    filter: Annotated[
        list[str] | None,
        typer.Option(help="As in the API: role=user, created_at__gte=2026-01-01, q=text, sort=-created_at."),
    ] = None,
    raw: Annotated[bool, typer.Option(help="CSV for programs: no byte order mark, no guard against formulas.")] = False,
    force: Annotated[bool, typer.Option(help="Replace the file if it is there.")] = False,
    data: DataOption = None,
) -> None:
    """Write users, conversations or messages to CSV, XLSX or JSON Lines. The file appears when it is complete."""

    async def work(services: Services) -> int:
        if output.exists() and not force:
            raise Conflict(f"{output} exists; say --force to replace it.")
        rows = {
            "users": services.users.rows,
            "conversations": services.conversations.rows,
            "messages": services.conversations.messages,
        }[resource]
        listing = parse_listing(_RESOURCES[resource], [_pair(each) for each in filter or ()], paged=False)
        wanted = format or output.suffix.removeprefix(".")
        made = export_rows(rows, EVERYTHING, listing, format=wanted, columns=columns, raw=raw)
        partial = output.with_name(f"{output.name}.part")
        written = 0
        with console.status(f"Writing {output}"):
            file = await asyncio.to_thread(partial.open, "wb")
            try:
                async with aclosing(made.chunks) as chunks:
                    async for chunk in chunks:
                        written += await asyncio.to_thread(file.write, chunk)
                file.close()
                await asyncio.to_thread(partial.replace, output)
            finally:
                file.close()
                await asyncio.to_thread(partial.unlink, missing_ok=True)
        return written

    written = run(data, work)
    print(f"{output}: {written:,} bytes")


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise Invalid(f"--filter {text}: write it as name=value.")
    return name, value
