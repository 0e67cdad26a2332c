"""`verbatim reindex`: what searches of names, e-mails and titles need, for rows that were stored without it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.cli.running import DataOption, console, run
from app.database import DOCUMENTS
from app.kit.documents import StoredDocument
from app.kit.reindexing import Reindexing
from app.services import Services


def reindexings() -> list[Reindexing]:
    """One for each kind of row that is searched through windows."""
    return [
        Reindexing(document) for document in DOCUMENTS if issubclass(document, StoredDocument) and document.windowed
    ]


def reindex(
    every: Annotated[
        bool, typer.Option("--all", help="Look at every row, after a server of an older version ran beside this one.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Make rows of older versions fast to search. Servers may run; after anything it can be run again."""

    async def work(_: Services) -> dict[str, int]:
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(TextColumn("{task.description}"), *columns, console=console) as progress:
            return {each.name: await _reindex(each, progress, every=every) for each in reindexings()}

    for name, count in run(data, work).items():
        print(f"{name}: {count:,} {'looked at' if every else 'reindexed'}.")


async def _reindex(rows: Reindexing, progress: Progress, *, every: bool) -> int:
    total = await (rows.count() if every else rows.lacking())
    task = progress.add_task(rows.name, total=total)
    batches: AsyncGenerator[int, None] = rows.renew() if every else rows.fill()
    done = 0
    async with aclosing(batches):
        async for count in batches:
            done += count
            progress.update(task, completed=done, total=max(total, done))
    return done
