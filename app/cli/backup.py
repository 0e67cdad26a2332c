"""`verbatim backup`: the whole database as one file, of one instant, beside running servers."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from pymongo import AsyncMongoClient
from rich.markup import escape

from app import __version__
from app.backups.failures import BackupFailed
from app.backups.frames import BackupWriter
from app.backups.loading import check
from app.backups.saving import Saved, Saving
from app.backups.source import Source
from app.cli.exports import appearing, require_absent
from app.cli.meter import metered
from app.cli.running import DataOption, read_settings, run_async, sentences
from app.config import Settings
from app.database import connected
from app.kit.clock import now
from app.kit.errors import Conflict, Invalid
from app.kit.logs import configure_logs

PIPE = "-"


def backup(
    file: Annotated[str, typer.Argument(help="File to write; - is standard output.")],
    force: Annotated[bool, typer.Option(help="Replace the file if it is there.")] = False,
    secondary: Annotated[
        bool, typer.Option("--secondary", help="Read from a secondary member of the replica set, where there is one.")
    ] = False,
    without_snapshot: Annotated[
        bool,
        typer.Option(
            "--without-snapshot", help="For standalone servers: nothing keeps the copy together, so nobody may write."
        ),
    ] = False,
    data: DataOption = None,
) -> None:
    """Write the whole database to a file, as of one instant, while servers run; whole and checked, or not at all."""
    path = Path(file)

    async def work() -> Saved:
        settings = read_settings(data=data)
        configure_logs("error", settings.log_format)
        async with connected(settings) as client:
            source = await _source(client, settings, secondary=secondary, without_snapshot=without_snapshot)
            saved = await (_to_pipe(source) if file == PIPE else _to_file(source, path))
            if source.has_snapshots:
                await source.remember({"finished_at": now(), "bytes": saved.bytes, "sha256": saved.sha256})
            return saved

    with sentences():
        if file == PIPE and sys.stdout.isatty():
            raise Invalid("A backup is not for terminals: name a file, or pipe it somewhere.")
        if file != PIPE:
            require_absent(path, force=force)
    print(_told(file, run_async(work)), file=sys.stderr if file == PIPE else sys.stdout)


async def _source(
    client: AsyncMongoClient[dict[str, Any]], settings: Settings, *, secondary: bool, without_snapshot: bool
) -> Source:
    """Raises BackupFailed for a server without snapshots, unless that is wanted."""
    hello = await client.admin.command("hello")
    if "setName" not in hello and hello.get("msg") != "isdbgrid" and not without_snapshot:
        raise BackupFailed(
            "This MongoDB is a standalone server, which knows no snapshots: stop everything that writes to it, and say"
            " --without-snapshot."
        )
    source = Source(client, settings.database, has_snapshots=not without_snapshot, prefers_secondary=secondary)
    await source.require_whole()
    return source


async def _to_file(source: Source, path: Path) -> Saved:
    async with appearing(path, is_private=True) as (file,):
        saved = await _save(source, file, path.name)
        await asyncio.to_thread(os.fsync, file.fileno())
        await _read_back(Path(file.name), path.name, saved)
        return saved


async def _to_pipe(source: Source) -> Saved:
    try:
        saved = await _save(source, sys.stdout.buffer, "standard output")
        await asyncio.to_thread(sys.stdout.buffer.flush)
    except OSError as error:
        raise Conflict(f"Standard output cannot be written: {error.strerror}.") from error
    return saved


async def _save(source: Source, file: BinaryIO, name: str) -> Saved:
    with metered(f"Writing {escape(name)}") as meter:
        saved = await Saving(source, BackupWriter(file), __version__, meter.report).save(meter.expect)
    await asyncio.to_thread(file.flush)
    return saved


async def _read_back(path: Path, name: str, saved: Saved) -> None:
    """What lies on the disk is what was sent."""
    async with opened_file(path) as file:
        with metered(f"Checking {escape(name)}") as meter:
            checked = await check(file, meter.expect_all, meter.report)
    if checked.trailer.sha256 != saved.sha256:
        raise BackupFailed(f"{name} was changed by another process while it was written: write it again.")


@asynccontextmanager
async def opened_file(path: Path) -> AsyncIterator[BinaryIO]:
    """A file to read. Raises Conflict."""
    try:
        file = await asyncio.to_thread(path.open, "rb")
    except OSError as error:
        raise Conflict(f"{path} cannot be read: {error.strerror}.") from error
    try:
        yield file
    finally:
        await asyncio.to_thread(file.close)


def _told(file: str, saved: Saved) -> str:
    name = "Written" if file == PIPE else file
    when = f"as of {saved.instant.as_datetime():%Y-%m-%d %H:%M:%S} UTC" if saved.instant else "without a snapshot"
    count = sum(saved.documents.values())
    return f"{name}: {count:,} documents {when}, {saved.bytes:,} bytes, SHA-256 {saved.sha256}"
