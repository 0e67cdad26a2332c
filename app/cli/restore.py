"""`verbatim restore`: a backup into a database, or checked without writing anything."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.markup import escape

from app.audit.actor import Actor, acting
from app.audit.trail import record
from app.backups.loading import Checked, Loading, check
from app.backups.reading import Header
from app.backups.target import Target
from app.cli.backup import PIPE, opened_file
from app.cli.meter import metered
from app.cli.running import DataOption, read_settings, run_async
from app.database import check_topology, connected, prepare
from app.kit.errors import Invalid
from app.kit.logs import configure_logs


def restore(
    file: Annotated[str, typer.Argument(help="The backup; - is standard input.")],
    check_only: Annotated[
        bool, typer.Option("--check", help="Read it to its end, see whether it is whole, and write nothing.")
    ] = False,
    drop: Annotated[bool, typer.Option("--drop", help="Replace all that is in the database.")] = False,
    into: Annotated[
        str | None,
        typer.Option(help="Name of another database.  [default: VERBATIM_DATABASE]", show_default=False),
    ] = None,
    data: DataOption = None,
) -> None:
    """Restore a database from a backup: all of it, or nothing that a server would take for a database."""
    if check_only:
        print(_told(file, run_async(lambda: _check(file))))
        return

    async def work() -> tuple[str, Header]:
        if file != PIPE:
            await _check(file)  # before anything is written
        settings = read_settings(data=data, database=into)
        configure_logs("error", settings.log_format)
        async with connected(settings) as client:
            await check_topology(client, settings.database)
            target = Target(client, settings.database)
            header = await _load(target, file, drop=drop)
            await prepare(client, settings.database)
            with acting(Actor("command")):
                await record("database.restored", "database", details={"taken_at": f"{header.started_at:%FT%TZ}"})
        return settings.database, header

    name, header = run_async(work)
    print(f"{name}: restored from the backup of {header.started_at:%Y-%m-%d %H:%M:%S} UTC; people sign in anew.")


async def _check(file: str) -> Checked:
    async with _source(file) as source:
        with metered(f"Checking {escape(file)}") as meter:
            return await check(source, meter.expect_all, meter.report)


async def _load(target: Target, file: str, *, drop: bool) -> Header:
    async with _source(file) as source:
        with metered(f"Restoring {escape(target.name)}") as meter:
            loading = Loading(target, source, meter.report, drop=drop)
            return await loading.load(meter.expect_all)


@asynccontextmanager
async def _source(file: str) -> AsyncIterator[BinaryIO]:
    if file != PIPE:
        async with opened_file(Path(file)) as opened:
            yield opened
    elif sys.stdin.isatty():
        raise Invalid("A backup does not come from a terminal: name a file, or pipe it here.")
    else:
        yield sys.stdin.buffer


def _told(file: str, checked: Checked) -> str:
    trailer = checked.trailer
    count = sum(trailer.documents.values())
    when = f"as of {trailer.instant.as_datetime():%Y-%m-%d %H:%M:%S} UTC" if trailer.instant else "without a snapshot"
    return (
        f"{file}: whole; {count:,} documents of {checked.header.database} {when}, by Verbatim"
        f" {checked.header.verbatim}; {checked.bytes:,} bytes, SHA-256 {trailer.sha256}"
    )
