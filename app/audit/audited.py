"""Repositories whose changes are entries of the audit log: each in one transaction with its entry."""

from collections.abc import Mapping
from typing import Any, ClassVar

from bson import ObjectId

from app.audit.trail import record
from app.kit.etag import Versions
from app.kit.repository import D, Repository, Row, Scope
from app.kit.transactions import Transactions

_COUNTED = frozenset({"version", "updated_at"})
_SECRETS: Mapping[str, str] = {"password_hash": "password", "secrets": "secret"}
"""What is changed without being a member of the row, and how it is called."""


class AuditedRepository(Repository[D]):
    """Every row that is inserted, changed or deleted through it leaves an entry: who did it, and which fields."""

    shown: ClassVar[tuple[str, ...]] = ()
    """Members whose values the entries tell: those that say what somebody may do, never what somebody wrote."""

    async def insert(self, document: D) -> Row:
        insert = super().insert

        async def write() -> Row:
            row = await insert(document)
            await self._note("created", row, {name: row[name] for name in self.shown})
            return row

        return await self._transactions.run(write)

    async def update(self, scope: Scope, id: ObjectId, change: Mapping[str, Any], *, versions: Versions = None) -> Row:
        update = super().update

        async def write() -> Row:
            before = await self.find(scope, {"_id": id})
            row = await update(scope, id, change, versions=versions)
            fields = [*self._changed(before or {}, row), *_secrets_of(change)]
            if fields:
                shown = {name: [(before or {}).get(name), row[name]] for name in self.shown if name in fields}
                await self._note("changed", row, {"fields": fields, **shown})
            return row

        return await self._transactions.run(write)

    async def delete(self, scope: Scope, id: ObjectId, *, versions: Versions = None) -> None:
        delete = super().delete

        async def write() -> None:
            row = await self.find(scope, {"_id": id}, fields=(self.resource.owner_path,))
            await delete(scope, id, versions=versions)
            await self._note("deleted", row or {"_id": id}, {})

        await self._transactions.run(write)

    async def _note(self, act: str, row: Row, details: Mapping[str, Any]) -> None:
        await record(
            f"{self.resource.singular.replace(' ', '-')}.{act}",
            self.resource.name,
            row["_id"],
            subject_id=row.get(self.resource.owner_path),
            details=details,
        )

    def _changed(self, before: Row, row: Row) -> list[str]:
        names = [name for name in self.resource.members if name not in _COUNTED and name != "id"]
        return [name for name in names if before.get(name) != row.get(name)]

    @property
    def _transactions(self) -> Transactions:
        return Transactions(self.collection.database.client)


def _secrets_of(change: Mapping[str, Any]) -> list[str]:
    return [_SECRETS[name] for name in change.get("$set", {}) if name in _SECRETS]
