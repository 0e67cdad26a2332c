"""`verbatim import`: conversations from files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from app.bootstrap import ADMIN_EMAIL
from app.cli.lookup import user_id_of
from app.cli.running import DataOption, console, run
from app.imports.report import ImportReport
from app.services import Services

SHOWN_BAD = 20
_RECORDS = {"jsonl": "line", "chatgpt": "conversation"}
"""What the position of a record counts, by the file's format."""


def import_file(
    file: Annotated[Path, typer.Argument(help="JSON Lines (plain or gzip), or ChatGPT's conversations.json or zip.")],
    owner: Annotated[str, typer.Option(help="E-mail of the user who will own the conversations.")] = ADMIN_EMAIL,
    data: DataOption = None,
) -> None:
    """Import conversations. What is there already is left alone, so it can be run again after anything.

    The exit status is 2 when some records could not be read, 1 when nothing could be done.
    """

    async def work(services: Services) -> ImportReport:
        owner_id = await user_id_of(services, owner)
        with _progress(file.name) as show:
            return await services.imports.run(file, owner_id, show)

    report = run(data, work)
    for line in _account(report):
        print(line)
    if report.bad_count:
        raise typer.Exit(2)


@contextmanager
def _progress(name: str) -> Iterator[Callable[[ImportReport], None]]:
    """A bar on standard error."""
    columns = (BarColumn(), TaskProgressColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}", markup=False), *columns, console=console) as progress:
        task = progress.add_task(name, total=None)
        yield lambda report: progress.update(task, total=report.size_bytes, completed=report.bytes_read)


def _account(report: ImportReport) -> Iterator[str]:
    record = _RECORDS[report.format]
    added, messages = _counted(report.added, "conversation"), _counted(report.messages, "message")
    yield f"{added} with {messages} added, {report.present:,} there already."
    if report.bad_count:
        yield f"{_counted(report.bad_count, record)} could not be read:"
    for bad in report.bad[:SHOWN_BAD]:
        yield f"  {record} {bad.position}: {bad.reason}"
    if report.bad_count > SHOWN_BAD:
        yield f"  ... and {report.bad_count - SHOWN_BAD:,} more"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
