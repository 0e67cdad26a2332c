"""`verbatim migrate`: what a newer version needs of the database, before its servers start or beside them."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from app.cli.running import DataOption, console, print_table, run
from app.database import DOCUMENTS
from app.kit.repository import Row
from app.migrations.indexes import drift
from app.migrations.model import Migration, Progress
from app.services import Services

TO_BE_DONE = 3
"""The exit status of `--dry-run` when something is to be done."""
_MOST_LISTED = 20
"""Indexes that are listed one by one: a new database lacks all."""


def migrate(
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="List the migrations and what would be done; exit status 3 when there is something."
        ),
    ] = False,
    contract: Annotated[
        bool,
        typer.Option(
            "--contract",
            help="Also take away what only older versions need. They refuse to start from then on, and there is no way "
            "back but a backup; refused while one of them runs.",
        ),
    ] = False,
    rebuild_indexes: Annotated[
        bool,
        typer.Option(
            "--rebuild-indexes",
            help="Make the indexes what they should be: build those that are missing, drop and build anew those that "
            "differ. Until one is there again its queries are slow, and a unique one guards nothing.",
        ),
    ] = False,
    data: DataOption = None,
) -> None:
    """Migrate the database to this version: indexes and rows.

    Servers do the same when they start, unless VERBATIM_MIGRATE=false. They may run meanwhile, older ones too, and
    several may be told to migrate at once: each migration is done by one process and the others wait for it. Ctrl-C
    ends it cleanly; run it again and it goes on where it was, as it does after a crash.

    Exit status: 0 done, or nothing to do; 1 it cannot be done, with a sentence that says why and what to do; 2 wrong
    options; 3 (--dry-run) something is to be done; 130 ended by Ctrl-C.
    """
    if dry_run:
        sys.exit(TO_BE_DONE if run(data, _list, looks_only=True) else 0)
    if contract and rebuild_indexes:
        raise typer.BadParameter("give --contract and --rebuild-indexes one after the other")

    async def work(services: Services) -> list[Migration]:
        migrations = services.migrations
        try:
            done = await _shown(migrations.rebuild_indexes()) if rebuild_indexes else []
            done += await _shown(migrations.run("expand", "migrate"))
            if contract:
                done += await _shown(migrations.contract())
        except asyncio.CancelledError:
            console.print("Ended before it was done; run it again and it goes on from here.")
            raise
        return list(dict.fromkeys(done))

    done = run(data, work, looks_only=True)
    print(f"Done: {', '.join(map(str, done))}." if done else "Nothing was to be done.")


async def _list(services: Services) -> bool:
    """Print the migrations, and the indexes that differ; answers whether a plain `migrate` would do something."""
    migrations = services.migrations
    rows = await migrations.rows()
    pending = await migrations.pending("expand", "migrate", "contract")
    table = Table("Number", "Name", "Phase", "State", "By version", "What it does")
    for each in migrations.known:
        row = rows.get(each.number, {})
        state = _state(each, row, is_pending=each in pending)
        table.add_row(str(each.number), each.name, each.phase, state, row.get("version", ""), each.summary)
    print_table(table)
    found = await drift(DOCUMENTS)
    for index in found[:_MOST_LISTED]:
        print(f"Index {index}: {index.kind}.")
    if len(found) > _MOST_LISTED:
        print(f"And {len(found) - _MOST_LISTED} more.")
    return any(each.phase != "contract" for each in pending)


def _state(migration: Migration, row: Row, *, is_pending: bool) -> str:
    if not is_pending:
        return "done"
    if row.get("state") in {"running", "failed"}:
        how_far = f" ({row['done']:,} of {row['total']:,})" if "total" in row else ""
        return f"{row['state']}{how_far}"
    return "with --contract" if migration.phase == "contract" else "to be done"


async def _shown(steps: AsyncGenerator[Progress, None]) -> list[Migration]:
    """Show how far the migrations are; answers those that this process has done."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[what]}"))
    tasks: dict[int, TaskID] = {}
    done: dict[Migration, None] = {}
    with Bars(TextColumn("{task.description}"), *columns, console=console) as bars:
        async with aclosing(steps):
            async for progress in steps:
                migration, step = progress.migration, progress.step
                if migration.number not in tasks:
                    tasks[migration.number] = bars.add_task(str(migration), total=None, what="")
                what = step.what if progress.is_ours else f"{step.what}, done by {progress.holder}"
                bars.update(tasks[migration.number], completed=step.done, total=step.total or None, what=what)
                if progress.is_ours:
                    done[migration] = None
    return list(done)
