"""Windows and normal forms for rows that have none: they were stored before there were any, or have windows of an older
kind.

It may run beside servers and beside itself, and be cut short and run again: what it has to do is what the rows lack.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import pymongo
from bson import MinKey
from pymongo import UpdateOne
from pymongo.asynchronous.collection import AsyncCollection

from app.kit.deadlines import EXPORT_PAGE_SECONDS, WRITE_SECONDS
from app.kit.documents import StoredDocument
from app.kit.normal_form import form_path, stored_forms
from app.kit.repository import Row
from app.kit.windows import FIELD, windows_of

BATCH = 500
_LACKING: Mapping[str, Any] = {FIELD: None}


class Reindexing:
    """The rows of one kind of document that is searched through windows."""

    def __init__(self, document: type[StoredDocument]) -> None:
        self._document = document
        forms = map(form_path, document.normalized)
        self._projection = dict.fromkeys((*document.windowed, *document.normalized, *forms, FIELD), 1)

    @property
    def name(self) -> str:
        return self._document.get_collection_name()

    @property
    def _collection(self) -> AsyncCollection[Row]:
        return self._document.get_pymongo_collection()

    async def lacking(self) -> int:
        """How many rows have no windows; counted in the index."""
        with pymongo.timeout(EXPORT_PAGE_SECONDS):
            return await self._collection.count_documents(_LACKING, hint=FIELD)

    async def count(self) -> int:
        """About how many rows there are."""
        with pymongo.timeout(EXPORT_PAGE_SECONDS):
            return await self._collection.estimated_document_count()

    async def fill(self) -> AsyncGenerator[int, None]:
        """Give windows to the rows that have none, in batches; answers how many each one was."""
        while rows := await self._rows(_LACKING, hint=FIELD):
            await self._write(rows, _LACKING)
            yield len(rows)

    async def renew(self) -> AsyncGenerator[int, None]:
        """Look at every row, and give it the right windows if it has others."""
        last: Any = MinKey()
        while rows := await self._rows({"_id": {"$gt": last}}, sort=[("_id", 1)]):
            await self._write([row for row in rows if not self._is_right(row)], {})
            last = rows[-1]["_id"]
            yield len(rows)

    async def _rows(self, condition: Mapping[str, Any], **options: Any) -> list[Row]:
        with pymongo.timeout(EXPORT_PAGE_SECONDS):
            return await self._collection.find(condition, self._projection, limit=BATCH, **options).to_list()

    async def _write(self, rows: Sequence[Row], condition: Mapping[str, Any]) -> None:
        """Store what the rows lack, but for rows whose texts have changed since they were read: with these, whoever
        changed them has stored it. Nobody else sees a difference, so versions and times stay."""
        writes = [
            UpdateOne(
                {"_id": row["_id"], **condition, **{path: row.get(path) for path in self._document.windowed}},
                {"$set": self._searched(row)},
            )
            for row in rows
        ]
        if writes:
            with pymongo.timeout(WRITE_SECONDS):
                await self._collection.bulk_write(writes, ordered=False)

    def _is_right(self, row: Row) -> bool:
        return all(row.get(path) == value for path, value in self._searched(row).items())

    def _searched(self, row: Row) -> Row:
        windows = windows_of(row.get(path) or "" for path in self._document.windowed)
        return {FIELD: windows, **stored_forms(self._document.normalized, row)}
