"""The database that is written. Collections are filled under other names and get theirs at the end: what is there stays
as it is until all has come and is right, and no server takes restored rows for news."""

import asyncio
import re
import secrets
from collections.abc import Container, Mapping, Sequence
from typing import Any

import bson
import pymongo
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient
from pymongo.errors import AutoReconnect, BulkWriteError, DuplicateKeyError, OperationFailure

from app.backups.failures import BackupFailed
from app.backups.marks import DEPLOYMENT, REPLACING, RESTORE_MARK, RESTORING, is_staged, unfinished_restore
from app.backups.reading import Collection
from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS

Facts = dict[str, Any]

_BATCH_SECONDS = 120.0
_PAUSES = (0.5, 1, 2, 4, 8)
_DUPLICATE = 11000
_ANOTHER = "Another restore works on the database {0}: let one of them end, then see whether another is needed."
_VALIDATION = frozenset({"validator", "validationLevel", "validationAction"})
_RAW: bson.CodecOptions[RawBSONDocument] = bson.CodecOptions(document_class=RawBSONDocument)


class Target:
    """`prefix`: of the names under which this restore fills collections; no other one uses it."""

    def __init__(self, client: AsyncMongoClient[Facts], name: str) -> None:
        self.name = name
        self.prefix = f"{RESTORING}{secrets.token_hex(4)}."
        self._client = client
        self._database = client[name]
        self._staged: dict[str, Any] = {}

    async def mark(self) -> Facts | None:
        """What a restore that was cut short has left."""
        return await unfinished_restore(self._database)

    async def set_mark(self, mark: Facts, *, staged: bool = False) -> None:
        """Let servers refuse the database; `staged`: also as soon as the new rows are in its place.

        Raises BackupFailed when another restore has begun to replace it.
        """
        name = f"{self.prefix}{DEPLOYMENT}" if staged else DEPLOYMENT
        try:
            with pymongo.timeout(WRITE_SECONDS):
                condition = {"_id": RESTORE_MARK, "state": {"$ne": REPLACING}}
                await self._database[name].replace_one(condition, mark, upsert=True)
        except DuplicateKeyError as error:
            raise BackupFailed(_ANOTHER.format(self.name)) from error

    async def clear_mark(self) -> None:
        with pymongo.timeout(WRITE_SECONDS):
            await self._database[DEPLOYMENT].delete_one({"_id": RESTORE_MARK})

    async def holding(self) -> list[str]:
        """Collections that hold documents, those that are being filled left out."""
        held = []
        for name in await self._names():
            other = {"_id": {"$ne": RESTORE_MARK}} if name == DEPLOYMENT else {}
            with pymongo.timeout(READ_SECONDS):
                if not is_staged(name) and await self._database[name].find_one(other, {"_id": 1}):
                    held.append(name)
        return held

    async def require_no_servers(self) -> None:
        """Raise BackupFailed while servers use this database."""
        living = {"is_dead": False, "$expr": {"$gt": ["$expires_at", "$$NOW"]}}
        with pymongo.timeout(READ_SECONDS):
            count = await self._database["workers"].count_documents(living)
        if count:
            raise BackupFailed(
                f"{count} server{'s use' if count > 1 else ' uses'} the database {self.name}: stop them first. One that"
                " was killed counts until its lease is over (VERBATIM_TURN_LEASE, 10 seconds)."
            )

    async def remove_staged(self) -> None:
        for name in await self._names():
            if is_staged(name):
                await self._database.drop_collection(name)

    async def stage(self, collection: Collection) -> None:
        """Make an empty collection to be filled; what rules it has for documents may be younger than some of them."""
        options = {name: value for name, value in collection.options.items() if name not in _VALIDATION}
        with pymongo.timeout(WRITE_SECONDS):
            await self._database.create_collection(f"{self.prefix}{collection.name}", **options)
        self._staged = await self._identities()

    async def require_own(self) -> None:
        """Raise BackupFailed when a collection is not the one any more that was filled."""
        if await self._identities() != self._staged:
            raise BackupFailed(_ANOTHER.format(self.name))

    async def _identities(self) -> Facts:
        with pymongo.timeout(READ_SECONDS):
            cursor = await self._database.list_collections(filter={"name": {"$regex": f"^{re.escape(self.prefix)}"}})
            return {each["name"]: each["info"]["uuid"] async for each in cursor}

    async def add_rules(self, collection: Collection) -> None:
        rules = {name: value for name, value in collection.options.items() if name in _VALIDATION}
        if rules:
            with pymongo.timeout(WRITE_SECONDS):
                await self._database.command("collMod", f"{self.prefix}{collection.name}", **rules)

    async def insert(self, name: str, documents: Sequence[bytes]) -> None:
        """Store documents; those that are stored already, by an attempt that seemed to fail, stay."""
        staged = self._database[f"{self.prefix}{name}"]
        raw = [RawBSONDocument(each, _RAW) for each in documents]
        for pause in (*_PAUSES, None):
            try:
                with pymongo.timeout(_BATCH_SECONDS):
                    await staged.insert_many(raw, ordered=False)
            except AutoReconnect:
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            except BulkWriteError as error:
                if any(each["code"] != _DUPLICATE for each in error.details["writeErrors"]):
                    raise
                return
            else:
                return

    async def remove(self, name: str, ids: Sequence[Any]) -> None:
        with pymongo.timeout(_BATCH_SECONDS):
            await self._database[f"{self.prefix}{name}"].delete_many({"_id": {"$in": list(ids)}})

    async def count(self, name: str) -> int:
        return await self._database[f"{self.prefix}{name}"].count_documents({}, hint="_id_")

    async def change(self, name: str, pipeline: Sequence[Mapping[str, Any]]) -> None:
        """Change all documents of a collection that is being filled."""
        await self._database[f"{self.prefix}{name}"].update_many({}, list(pipeline))

    async def build_indexes(self, collection: Collection) -> None:
        """All of a collection at once, in one pass over its documents. Raises BackupFailed."""
        indexes = [index for index in collection.indexes if index["name"] != "_id_"]
        if not indexes:
            return
        try:
            await self._database.command(
                "createIndexes", f"{self.prefix}{collection.name}", indexes=indexes, commitQuorum="majority"
            )
        except OperationFailure as error:
            if error.code != _DUPLICATE:
                raise
            raise BackupFailed(
                f"A unique index of {collection.name} cannot be built: the backup was taken without a snapshot, while"
                " others wrote. Take another one."
            ) from error

    async def replace_all(self, prefix: str, names: Container[str], views: Sequence[Facts]) -> None:
        """Give the collections that were filled their names, the facts about the deployment last, and remove all
        others than `names`. Cut short, it can be done again."""
        present = await self._names()
        for name in present:
            if name not in names and not name.startswith(prefix):
                await self._database.drop_collection(name)
        staged = [name.removeprefix(prefix) for name in present if name.startswith(prefix)]
        for name in sorted(staged, key=lambda name: name == DEPLOYMENT):
            await self._rename(f"{prefix}{name}", name)
        for view in views:
            await self._database.drop_collection(view["name"])
            await self._database.create_collection(view["name"], **view["options"])

    async def _rename(self, name: str, new: str) -> None:
        await self._client.admin.command(
            "renameCollection",
            f"{self.name}.{name}",
            to=f"{self.name}.{new}",
            dropTarget=True,
            writeConcern={"w": "majority"},
        )

    async def _names(self) -> list[str]:
        with pymongo.timeout(READ_SECONDS):
            names = await self._database.list_collection_names()
        return sorted(name for name in names if not name.startswith("system."))
