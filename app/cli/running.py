"""Running commands: settings from options, services, and errors as one sentence."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError
from pymongo.errors import OperationFailure, PyMongoError
from rich.console import Console
from rich.table import Table

from app.audit.actor import Actor, acting
from app.backups.failures import BackupFailed
from app.bootstrap import KEY_FILE, ensure_admin
from app.config import Settings
from app.database import DatabaseUnavailable
from app.imports.streams import UnreadableSource
from app.kit.errors import Invalid, VerbatimError
from app.kit.logs import configure_logs
from app.kit.problems import as_verbatim_error
from app.migrations.starting import Start, command_start, no_start
from app.mongod import MongodUnavailable
from app.services import Services, open_services

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Folder of the embedded MongoDB.  [default: VERBATIM_DATA or ./data]", show_default=False
    ),
]

_PIPED_WIDTH = 10_000

console = Console(stderr=True, highlight=False)


def print_table(table: Table) -> None:
    """The table on standard output, with its texts as they are; piped, a row is one line."""
    width = None if sys.stdout.isatty() else _PIPED_WIDTH
    Console(highlight=False, markup=False, emoji=False, width=width).print(table)


def read_settings(**overrides: Any) -> Settings:
    """Settings of the environment, with the options that were given in their place."""
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        for each in error.errors(include_url=False):
            name = "_".join(("VERBATIM", *(str(part) for part in each["loc"]))).upper()
            _complain(f"{name}: {each['msg'].removeprefix('Value error, ')}")
        sys.exit(1)


def checked(schema: type[M], **options: Any) -> M:
    """The options as `schema`; raises Invalid with one sentence."""
    try:
        return schema(**options)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Invalid(f"{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}") from error


@contextmanager
def sentences() -> Iterator[None]:
    """End with exit status 1 and one sentence for what is not a fault of the program."""
    try:
        yield
    except (BackupFailed, DatabaseUnavailable, MongodUnavailable, UnreadableSource, VerbatimError) as error:
        _complain(str(error))
        sys.exit(1)
    except PyMongoError as error:
        known = as_verbatim_error(error, is_write=True)
        _complain(known.detail if known else f"The database failed: {name_of(error)}.")
        sys.exit(1)


def name_of(error: PyMongoError) -> str:
    """What the server calls it; its message may show what people wrote."""
    details = error.details if isinstance(error, OperationFailure) else None
    return str((details or {}).get("codeName") or type(error).__name__)


def _complain(sentence: str) -> None:
    print(f"verbatim: {sentence}", file=sys.stderr)


def run(data: Path | None, work: Callable[[Services], Coroutine[Any, Any, T]], *, looks_only: bool = False) -> T:
    """Open the services, run `work` and close them; Ctrl-C ends with status 130.

    `looks_only`: the database is neither migrated nor given an admin before.
    """

    async def with_services() -> T:
        settings = read_settings(data=data)
        configure_logs("warning", settings.log_format)
        async with open_services(settings, start=no_start) if looks_only else opened(settings) as services:
            with acting(Actor("command")):
                return await work(services)

    return run_async(with_services)


def run_async(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `work`; what goes wrong is one sentence, and Ctrl-C ends with status 130."""
    with sentences():
        try:
            return asyncio.run(work())
        except KeyboardInterrupt:
            sys.exit(130)


@asynccontextmanager
async def opened(settings: Settings, *, start: Start = command_start) -> AsyncIterator[Services]:
    """The services, with a first admin, whose key is shown when it has just been made."""
    async with open_services(settings, start=start) as services:
        key = await ensure_admin(services)
        if key is not None:
            console.print(f"First admin key (shown once, kept in {settings.data / KEY_FILE}): [bold]{key}[/bold]")
        yield services
