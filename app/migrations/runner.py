"""Doing what is to be done: each migration by one process, while the others wait for it; and saying what is not."""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pymongo
from pymongo.errors import AutoReconnect, PyMongoError, ServerSelectionTimeoutError

from app import __version__
from app.database import DOCUMENTS, Database, DatabaseUnavailable
from app.kit.cancellation import raise_if_cancelled
from app.kit.deadlines import READ_SECONDS
from app.kit.errors import Unavailable
from app.kit.logs import logger
from app.kit.repository import Row
from app.migrations import indexes, registry
from app.migrations.duplicates import DuplicateValues
from app.migrations.ledger import LeaseLost, Ledger
from app.migrations.model import Migration, Phase, Progress, Step
from app.turns.workers import WorkerRepository

LEASE_SECONDS = 15.0
_RENEWALS_PER_LEASE = 3
_LOOK_SECONDS = 0.5
_GOODBYE_SECONDS = 2.0
_INDEXES = "indexes"


class Migrations:
    """Those of one database. `known`: what this version knows of."""

    def __init__(
        self,
        database: Database,
        known: Sequence[Migration] | None = None,
        *,
        lease_seconds: float | None = None,
    ) -> None:
        lease_seconds = LEASE_SECONDS if lease_seconds is None else lease_seconds
        self.known = registry.MIGRATIONS if known is None else known
        self.level = registry.level_of(self.known)
        self._database = database
        self._ledger = Ledger(database, lease_seconds=lease_seconds)
        self._lease_seconds = lease_seconds
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._task: asyncio.Task[None] | None = None

    # --- what there is ---

    async def check(self) -> None:
        """Raises DatabaseUnavailable when a newer version has changed the data beyond what this one understands."""
        contract, version = await self._ledger.contracted()
        if contract > self.level:
            raise DatabaseUnavailable(
                f"This database was migrated for Verbatim {version} or newer (level {contract}); this is "
                f"{__version__}, which knows levels up to {self.level} and would damage it. Start version {version} "
                "or newer, or restore a backup from before."
            )

    async def assure(self) -> None:
        """Raises Unavailable unless this version can serve: what it waits for is done, and nothing went beyond it."""
        rows = await self._ledger.rows()
        waiting = [each for each in self.known if each.phase == "expand" and _state(rows, each) != "done"]
        if waiting:
            raise Unavailable(f"The database is being migrated: {waiting[0]}.", retry_after=2)
        if rows.get("schema", {}).get("contract", 0) > self.level:
            raise Unavailable("The database was migrated for a newer version; this server has to be replaced.")

    async def rows(self) -> Mapping[Any, Row]:
        """What the database knows of each, by number."""
        return await self._ledger.rows()

    async def pending(self, *phases: Phase) -> list[Migration]:
        """Those of the phases that are to be done."""
        rows, found = await self._ledger.rows(), list[Migration]()
        for each in self.known:
            # What asks the data may need what is pending before it, such as its index.
            is_pending = _state(rows, each) != "done" or (not found and await self._is_pending(each, rows))
            if is_pending:
                found.append(each)
        return [each for each in found if each.phase in phases]

    async def _is_pending(self, migration: Migration, rows: Mapping[Any, Row]) -> bool:
        if _state(rows, migration) != "done":
            return True
        return migration.is_due is not None and await migration.is_due(self._database)

    # --- doing it ---

    async def run(self, *phases: Phase) -> AsyncGenerator[Progress, None]:
        """Do what is to be done, or wait while another process does it; raises DatabaseUnavailable with what stands in
        the way. Cut short anywhere, the next one goes on from there."""
        await self.check()
        await self._skip_what_is_of_older_data()
        for migration in self.known:
            if migration.phase in phases:
                async with aclosing(self.until_done(migration)) as steps:
                    async for progress in steps:
                        yield progress

    async def _skip_what_is_of_older_data(self) -> None:
        """A new database has none; whatever shows in its indexes is looked at all the same."""
        rows = await self._ledger.rows()
        unknown = [each for each in self.known if each.number not in rows and each.name != _INDEXES]
        if unknown and not await self._has_data():
            for each in unknown:
                await self._ledger.skip(each)

    async def _has_data(self) -> bool:
        collections = [each.get_pymongo_collection() for each in DOCUMENTS]
        with pymongo.timeout(READ_SECONDS):
            return any([await each.find_one({}, {"_id": 1}) for each in collections])

    async def finish(self, *phases: Phase) -> None:
        """As `run`, without a look at how far it is."""
        async with aclosing(self.run(*phases)) as steps:
            async for _ in steps:
                pass

    async def again(self, migration: Migration) -> AsyncGenerator[Progress, None]:
        """Do one although it is done: older servers may have stored rows behind it."""
        while not await self._ledger.acquire(migration, self._holder):
            raise_if_cancelled()
            yield await self._elsewhere(migration)
            await asyncio.sleep(_LOOK_SECONDS)
        async with self._released(migration), aclosing(self._attempt(migration)) as steps:
            async for progress in steps:
                yield progress
        async with aclosing(self.until_done(migration)) as steps:  # if the attempt was cut short
            async for progress in steps:
                yield progress

    async def rebuild_indexes(self) -> AsyncGenerator[Progress, None]:
        """Make the indexes what documents declare, whatever they are now; under the lease of the migration that builds
        them. Those of older versions stay as long as a server of one runs."""
        await self.check()
        migration = next(each for each in self.known if each.name == _INDEXES)
        kinds: tuple[indexes.Kind, ...] = ("missing", "changed", "retired")
        again = replace(migration, work=partial(_rebuild, kinds[:2] if await self.older_servers() else kinds))
        async with aclosing(self.again(again)) as steps:
            async for progress in steps:
                yield progress

    async def until_done(self, migration: Migration) -> AsyncGenerator[Progress, None]:
        """Do one, or wait while another process does it, until it is done."""
        while await self._is_pending(migration, await self._ledger.rows()):
            raise_if_cancelled()
            if not await self._ledger.acquire(migration, self._holder):
                yield await self._elsewhere(migration)
                await asyncio.sleep(_LOOK_SECONDS)
                continue
            async with self._released(migration):
                if not await self._is_pending(migration, await self._ledger.rows()):
                    break  # it was done between the look and the lease
                async with aclosing(self._attempt(migration)) as steps:
                    async for progress in steps:
                        yield progress

    async def _attempt(self, migration: Migration) -> AsyncGenerator[Progress, None]:
        """As far as it comes: an election, or a lease that was lost, ends it for now."""
        try:
            async with aclosing(self._work(migration)) as steps:
                async for progress in steps:
                    yield progress
        except LeaseLost:
            logger.warning("migration_lease_lost", migration=str(migration))
        except ServerSelectionTimeoutError:
            raise
        except AutoReconnect as error:
            logger.warning("migration_interrupted", migration=str(migration), error=type(error).__name__)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _elsewhere(self, migration: Migration) -> Progress:
        row = (await self._ledger.rows()).get(migration.number, {})
        step = Step(row.get("done", 0), row.get("total", 0), what=row.get("what", ""))
        return Progress(migration, step, False, row.get("holder", "nobody"))

    @asynccontextmanager
    async def _released(self, migration: Migration) -> AsyncIterator[None]:
        """The lease is let go of at the end, however that comes; else it ends by itself."""
        try:
            yield
        finally:
            try:
                with pymongo.timeout(_GOODBYE_SECONDS):
                    await self._ledger.release(migration, self._holder)
            except PyMongoError as error:
                logger.warning("migration_not_released", migration=str(migration), error=type(error).__name__)

    async def _work(self, migration: Migration) -> AsyncGenerator[Progress, None]:
        """Its steps, each noted. Raises LeaseLost when another process took over while this one was silent."""
        place = await self._ledger.begin(migration, self._holder)
        logger.info("migration_started", migration=str(migration), goes_on=place is not None)
        renewing = asyncio.create_task(self._renew(migration), name=f"lease of migration {migration.number}")
        try:
            async with aclosing(migration.work(self._database, place)) as steps:
                raise_if_cancelled()
                async for step in steps:
                    await self._ledger.note(migration, self._holder, step)
                    raise_if_cancelled()
                    yield Progress(migration, step, True)
        except DatabaseUnavailable as error:
            sentence = error.brief if isinstance(error, DuplicateValues) else str(error)
            await self._ledger.fail(migration, self._holder, sentence)
            raise
        finally:
            renewing.cancel()
        await self._ledger.finish(migration, self._holder)
        logger.info("migration_done", migration=str(migration))

    async def _renew(self, migration: Migration) -> None:
        """Say that this process lives, through steps that take longer than a lease such as a large index."""
        while True:
            raise_if_cancelled()
            await asyncio.sleep(self._lease_seconds / _RENEWALS_PER_LEASE)
            try:
                await self._ledger.renew(migration, self._holder)
            except LeaseLost:
                return  # the next step is told
            except PyMongoError as error:
                logger.warning("migration_lease_not_renewed", migration=str(migration), error=type(error).__name__)

    # --- beside a server ---

    def open(self) -> None:
        """Do what servers need not wait for, in a task of its own."""
        self._task = asyncio.create_task(self._beside(), name="migrations")

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None

    async def _beside(self) -> None:
        while True:
            raise_if_cancelled()
            try:
                await self.finish("migrate")
            except (PyMongoError, DatabaseUnavailable) as error:
                logger.warning("migrations_interrupted", error=type(error).__name__)
                await asyncio.sleep(self._lease_seconds)
            else:
                return

    # --- taking away what older versions need ---

    async def contract(self) -> AsyncGenerator[Progress, None]:
        """Shut older versions out, and take away what only they need; raises DatabaseUnavailable while one runs."""
        await self.check()
        await self._refuse_while_older_run()
        for migration in self.known:
            if migration.phase == "migrate":  # older servers may have stored rows of the old shape behind it
                async with aclosing(self.again(migration)) as steps:
                    async for progress in steps:
                        yield progress
        await self._ledger.contract(max(each.number for each in self.known if each.phase == "contract"))
        await self._refuse_while_older_run()
        async with aclosing(self.run("contract")) as steps:
            async for progress in steps:
                yield progress

    async def older_servers(self) -> int:
        """How many servers of older versions live, as far as anybody knows."""
        return await WorkerRepository(lease_seconds=self._lease_seconds).count_older(self.level)

    async def _refuse_while_older_run(self) -> None:
        if older := await self.older_servers():
            raise DatabaseUnavailable(
                f"{older} server{'s' if older > 1 else ''} of an older version still run and need what this would take "
                "away: replace them first, wait until their leases have ended (VERBATIM_TURN_LEASE, 10 seconds), then "
                "run it again."
            )


async def _rebuild(kinds: Sequence[indexes.Kind], _: Database, __: Any) -> AsyncGenerator[Step, None]:
    async for step in indexes.rebuild(await indexes.drift(DOCUMENTS, *kinds)):
        yield step


def _state(rows: Mapping[Any, Row], migration: Migration) -> str:
    return str(rows.get(migration.number, {}).get("state", "new"))
