"""`verbatim import`: conversations from files, and what became of them."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from bson import ObjectId
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from typer.core import TyperGroup

from app.bootstrap import ADMIN_EMAIL
from app.cli.lookup import user_id_of
from app.cli.running import DataOption, console, print_table, run, sentences
from app.imports.formats import Format
from app.imports.mapping import parse_map
from app.imports.report import ImportReport
from app.imports.resource import IMPORTS
from app.imports.service import ImportOptions
from app.kit.errors import Conflict, NotFound
from app.kit.listing import parse_listing
from app.kit.repository import EVERYTHING, Row
from app.services import Services

_RECORDS = {
    "jsonl": "line",
    "rows": "line",
    "csv": "row",
    "xlsx": "row",
    "langchain": "document",
    **dict.fromkeys(("chatgpt", "claude", "librechat", "openwebui"), "conversation"),
}
"""What the position of a record counts, by the file's format."""

_DEFAULT = "run"


class _FileFirst(TyperGroup):
    """`verbatim import FILE` is `verbatim import run FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        is_named = bool(args) and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if is_named or not args else [_DEFAULT, *args])


commands = typer.Typer(
    cls=_FileFirst,
    no_args_is_help=True,
    help="Import conversations (verbatim import FILE), list imports, undo them.",
)


@commands.command(_DEFAULT)
def import_file(
    file: Annotated[
        Path,
        typer.Argument(
            help="JSON Lines, CSV or XLSX, or an export of ChatGPT, Claude, LibreChat, Open WebUI or LangChain."
        ),
    ],
    owner: Annotated[str, typer.Option(help="E-mail of the user who will own the conversations.")] = ADMIN_EMAIL,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--map", help="Which column of a table holds what: content=Text, role=Speaker, conversation=Chat."
        ),
    ] = None,
    companions: Annotated[
        list[Path] | None,
        typer.Option("--with", help="A further table about the same conversations, such as our export of them."),
    ] = None,
    format: Annotated[Format | None, typer.Option(help="Refuse the file if its content is of another format.")] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Name of the place it comes from, which keeps its ids apart from those of other places."),
    ] = None,
    restore: Annotated[
        bool, typer.Option(help="Our own exports: conversations and messages keep their ids and times.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Store nothing; say what would be stored.")] = False,
    data: DataOption = None,
) -> None:
    """Import conversations. What is there already is left alone, so it can be run again after anything.

    The exit status is 2 when some records could not be read, 1 when nothing could be done.
    """
    with sentences():
        options = ImportOptions(
            columns=parse_map(columns or []),
            companions=companions or (),
            namespace=source,
            restore=restore,
            dry_run=dry_run,
            expected=format,
        )

    async def work(services: Services) -> Row:
        owner_id = await user_id_of(services, owner)
        with _progress(file.name) as show:
            return await services.imports.run_here(file, owner_id, options, show)

    row = run(data, work)
    for line in _account(row):
        print(line)
    _say_what_next(row)
    if row["bad"]:
        raise typer.Exit(2)


@commands.command("list")
def list_imports(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many, the newest ones.")] = 20,
    data: DataOption = None,
) -> None:
    """Imports, dry runs and undos, the newest first."""

    async def work(services: Services) -> list[Row]:
        listing = parse_listing(IMPORTS, [("limit", str(limit))])
        page = await services.imports.rows.page(EVERYTHING, listing)
        return list(page.rows)

    table = Table("Id", "When", "What", "State", "File", "Format", "Added", "There already", "Bad", "Undone")
    for row in run(data, work):
        undone = row["undone"] or {}
        table.add_row(
            str(row["_id"]),
            f"{row['created_at']:%Y-%m-%d %H:%M}",
            row["action"],
            row["state"],
            row["filename"],
            row["format"] or "",
            *(f"{row[name]:,}" for name in ("conversations", "present", "bad")),
            f"{undone['removed']:,} removed, {undone['kept']:,} kept" if undone else "",
        )
    print_table(table)


@commands.command("undo")
def undo_import(
    id: Annotated[str, typer.Argument(help="Of the import; see: verbatim import list")],
    force: Annotated[bool, typer.Option(help="Remove conversations that were changed since as well.")] = False,
    data: DataOption = None,
) -> None:
    """Remove the conversations that an import has added and that nobody has changed since.

    The exit status is 2 when some stay because they were changed.
    """

    async def work(services: Services) -> Row:
        with console.status("Undoing") as status:
            return await services.imports.undo_here(
                EVERYTHING,
                _id(id),
                force=force,
                progress=lambda report: status.update(f"Undoing: {report.removed:,} removed"),
            )

    row = run(data, work)
    print(f"{_counted(row['removed'], 'conversation')} removed.")
    if not row["kept"]:
        return
    print(f"{_counted(row['kept'], 'conversation')} changed since then and kept; --force removes them too:")
    for each in row["kept_first"]:
        print(f"  {each['id']} {each['title']}".rstrip())
    if row["kept"] > len(row["kept_first"]):
        print(f"  ... and {row['kept'] - len(row['kept_first']):,} more")
    raise typer.Exit(2)


@commands.command("errors")
def write_errors(
    id: Annotated[str, typer.Argument(help="Of the import; see: verbatim import list")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; standard output without.")
    ] = None,
    data: DataOption = None,
) -> None:
    """The records that an import could not read, as JSON Lines: position, reason, and the record as it came."""

    async def work(services: Services) -> None:
        _, chunks = await services.imports.errors(EVERYTHING, _id(id))
        try:
            with output.open("xb") if output else sys.stdout.buffer as file:
                async with aclosing(chunks):
                    async for chunk in chunks:
                        file.write(chunk)
        except FileExistsError as error:
            raise Conflict(f"{output} exists.") from error
        except OSError as error:
            raise Conflict(f"{output or 'The output'} cannot be written: {error.strerror}.") from error

    run(data, work)


def _id(text: str) -> ObjectId:
    if not ObjectId.is_valid(text):
        raise NotFound(f"There is no import {text}; see: verbatim import list")
    return ObjectId(text)


@contextmanager
def _progress(name: str) -> Iterator[Callable[[ImportReport], None]]:
    """A bar on standard error."""
    columns = (BarColumn(), TaskProgressColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}", markup=False), *columns, console=console) as progress:
        task = progress.add_task(name, total=None)
        yield lambda report: progress.update(task, total=report.size_bytes, completed=report.bytes_read)


def _account(row: Row) -> Iterator[str]:
    record = _RECORDS[row["format"]]
    is_dry = row["action"] == "dry_run"
    if row["mapping"]:
        yield "Columns: " + ", ".join(f"{each['field']}={each['heading']}" for each in row["mapping"])
    added, messages = _counted(row["conversations"], "conversation"), _counted(row["messages"], "message")
    yield f"{added} with {messages} {'would be added' if is_dry else 'added'}, {row['present']:,} there already."
    for each in row["preview"]:
        yield from _preview(each)
    if row["bad"]:
        yield f"{_counted(row['bad'], record)} could not be read:"
    for bad in row["bad_first"]:
        yield f"  {record} {bad['position']}: {bad['reason']}"
    if row["bad"] > len(row["bad_first"]):
        yield f"  ... and {row['bad'] - len(row['bad_first']):,} more"


def _preview(conversation: Mapping[str, Any]) -> Iterator[str]:
    count = _counted(conversation["message_count"], "message")
    yield f"  {conversation['source_id']}: {conversation['title'] or 'untitled'}, {count}"
    for message in conversation["messages"]:
        yield f"    {message['created_at']:%Y-%m-%d %H:%M:%S} {message['role']}: {' '.join(message['content'].split())}"


def _say_what_next(row: Row) -> None:
    id = row["_id"]
    if row["errors_bytes"]:
        console.print(f"What could not be read, as it came: verbatim import errors {id}", soft_wrap=True)
    if row["conversations"] and row["action"] == "import":
        console.print(f"To take it back: verbatim import undo {id}", soft_wrap=True)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
