"""`verbatim reindex`: what searches need of rows that were stored without it: names, e-mails, titles, messages."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.cli.running import DataOption, console, run
from app.kit.reindexing import Reindexing
from app.migrations.steps import reindexings
from app.search.index import Progress as Step
from app.services import Services


def reindex(
    every: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Look at every row, after a server of an older version ran beside this one; index all messages anew.",
        ),
    ] = False,
    data: DataOption = None,
) -> None:
    """Make rows of older versions fast to search, and index what messages say. Servers may run; after anything it can
    be run again."""

    async def work(services: Services) -> dict[str, int]:
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(TextColumn("{task.description}"), *columns, console=console) as progress:
            done = {each.name: await _shown(progress, each.name, _windows(each, every=every)) for each in reindexings()}
            index = services.content_index
            steps = index.rebuild() if every else index.catch_up()
            return {**done, index.table_name: await _shown(progress, index.table_name, steps)}

    for name, count in run(data, work).items():
        print(f"{name}: {count:,} {'looked at' if every else 'reindexed'}.")


async def _windows(rows: Reindexing, *, every: bool) -> AsyncGenerator[Step, None]:
    """Give windows to the rows; answers how far that is."""
    total = await (rows.count() if every else rows.lacking())
    batches: AsyncGenerator[int, None] = rows.renew() if every else rows.fill()
    done = 0
    yield Step(done, total)
    async with aclosing(batches):
        async for count in batches:
            done += count
            yield Step(done, max(total, done))


async def _shown(progress: Progress, name: str, steps: AsyncGenerator[Step, None]) -> int:
    """Show how far the steps of a table are; answers how many rows were dealt with."""
    task = progress.add_task(name, total=None)
    done = 0
    async with aclosing(steps):
        async for step in steps:
            done = step.done
            progress.update(task, completed=done, total=step.total)
    return done
