"""`verbatim import`: conversations from files."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from app.bootstrap import ADMIN_EMAIL
from app.cli.lookup import user_id_of
from app.cli.running import DataOption, console, run
from app.imports.service import ImportReport
from app.services import Services

SHOWN_BAD = 20


def import_file(
    file: Annotated[Path, typer.Argument(help="JSON Lines (plain or gzip), or ChatGPT's conversations.json or zip.")],
    owner: Annotated[str, typer.Option(help="E-mail of the user who will own the conversations.")] = ADMIN_EMAIL,
    data: DataOption = None,
) -> None:
    """Import conversations. What is there already is left alone, so it can be run again after anything."""

    async def work(services: Services) -> ImportReport:
        owner_id = await user_id_of(services, owner)
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=console,
        ) as progress:
            task = progress.add_task(file.name, total=None)

            def show(report: ImportReport) -> None:
                progress.update(task, total=report.size_bytes, completed=report.bytes_read)

            return await services.imports.run(file, owner_id, show)

    report = run(data, work)
    print(
        f"{report.added:,} conversations with {report.messages:,} messages added, "
        f"{report.present:,} were there already, {report.bad_count:,} records could not be read."
    )
    for bad in report.bad[:SHOWN_BAD]:
        print(f"  {bad.position}: {bad.reason}")
    if report.bad_count > SHOWN_BAD:
        print(f"  ... and {report.bad_count - SHOWN_BAD:,} more")
    if report.bad_count:
        raise typer.Exit(2)
