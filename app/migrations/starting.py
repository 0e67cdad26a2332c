"""What servers and commands do about migrations before anything else."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from app.config import Settings
from app.database import DatabaseUnavailable
from app.kit.cancellation import raise_if_cancelled
from app.kit.logs import logger
from app.migrations.model import Migration, Progress
from app.migrations.runner import Migrations
from app.migrations.settled import of_settings

Start = Callable[[Migrations, Settings], Awaitable[None]]
_LOOK_SECONDS = 1.0


async def server_start(
    migrations: Migrations, settings: Settings, report: Callable[[Progress], None] = lambda _: None
) -> None:
    """Do what servers need, or wait until another process has; then settle the indexes of this server's settings.

    With `VERBATIM_MIGRATE=false` the server waits until `verbatim migrate` has been run, however long that takes.
    """
    await migrations.check()
    if settings.migrate:
        await _reported(migrations.run("expand"), report)
    else:
        await _awaited(migrations)
    await _reported(migrations.until_done(of_settings(settings)), report)


async def command_start(migrations: Migrations, settings: Settings) -> None:
    """As a server, but nobody waits for somebody else to begin: DatabaseUnavailable says what to run."""
    await migrations.check()
    if settings.migrate:
        await migrations.finish("expand")
    elif pending := await migrations.pending("expand"):
        raise DatabaseUnavailable(f"The database is to be migrated ({_names(pending)}); run: verbatim migrate")


async def no_start(migrations: Migrations, _: Settings) -> None:
    """Look at the database as it is, if this version understands it."""
    await migrations.check()


async def _awaited(migrations: Migrations) -> None:
    told = ""
    while pending := await migrations.pending("expand"):
        raise_if_cancelled()
        if (names := _names(pending)) != told:
            told = names
            logger.warning("waiting_for_migrations", pending=names, advice="run: verbatim migrate")
        await asyncio.sleep(_LOOK_SECONDS)


async def _reported(steps: AsyncGenerator[Progress, None], report: Callable[[Progress], None]) -> None:
    async with aclosing(steps):
        async for progress in steps:
            report(progress)


def _names(migrations: list[Migration]) -> str:
    return ", ".join(map(str, migrations))
