"""The table whose rows are indexed, as far as the index reads and marks it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pymongo
from bson import ObjectId
from pymongo import UpdateOne
from pymongo.asynchronous.collection import AsyncCollection

from app.kit.deadlines import EXPORT_PAGE_SECONDS
from app.kit.normal_form import form_path, form_to_store
from app.kit.repository import Row
from app.search.building import Text
from app.search.keys import Key, Keys, instant, key_of

MARK = "indexed_v2"
"""The field of a row that a segment has: true. Its number counts the forms of the index, each of which has its own."""

_PIECE_CHARACTERS = 2 * 2**20
_AT_ONCE = 1000
"""Rows of one reply or update: few, so that neither we nor the database are kept from others for long."""


@dataclass(frozen=True)
class Table:
    """The rows that are indexed: where they are, and the paths of what is read of them."""

    collection: AsyncCollection[Row]
    text: str
    owner: str
    group: str
    order: str
    ready: Mapping[str, Any]
    """The condition of the rows whose text will not change any more."""
    unmarked_index: str
    """The name of the index of the rows without a mark."""

    async def unmarked(self, last: Key | None, limit: int) -> tuple[list[Row], bool]:
        """Rows that no segment has, in order behind a place, and whether they are the last ones."""
        condition = {MARK: None, **self._readable, **self._behind(last)}
        return await self._read(condition, limit, hint=self.unmarked_index)

    async def after(self, last: Key | None, limit: int) -> tuple[list[Row], bool]:
        """Rows in order behind a place, with a mark or without, and whether they are the last ones."""
        return await self._read({**self._readable, **self._behind(last)}, limit)

    def _behind(self, last: Key | None) -> dict[str, Any]:
        if last is None:
            return {}
        time, id = instant(last[0]), ObjectId(last[1])
        beyond = [{self.order: time, "_id": {"$gt": id}}, {self.order: {"$gt": time}}]
        return {self.order: {"$type": "date", "$gte": time}, "$or": beyond}

    @property
    def _readable(self) -> dict[str, Any]:
        """The condition of the rows that can be indexed: others, which this product never writes, are left to the
        searches, which read what has no mark."""
        kinds = {self.text: "string", self.owner: "objectId", self.group: "objectId", self.order: "date"}
        return {**self.ready, **{path: {"$type": kind} for path, kind in kinds.items()}}

    async def count_unmarked(self, limit: int | None = None) -> int:
        """How many rows no segment has, counted no further than the limit."""
        options: dict[str, Any] = {} if limit is None else {"limit": limit}
        with pymongo.timeout(EXPORT_PAGE_SECONDS):
            return await self.collection.count_documents(
                {MARK: None, **self._readable}, hint=self.unmarked_index, **options
            )

    async def count(self) -> int:
        """About how many rows there are."""
        with pymongo.timeout(EXPORT_PAGE_SECONDS):
            return await self.collection.estimated_document_count()

    async def mark(self, keys: Keys) -> None:
        """Note that a segment has these rows. Nobody else sees a difference: versions and times stay."""
        for first in range(0, len(keys), _AT_ONCE):
            ids = [ObjectId(id.tobytes()) for id in keys.ids[first : first + _AT_ONCE]]
            with pymongo.timeout(EXPORT_PAGE_SECONDS):
                await self.collection.update_many({"_id": {"$in": ids}}, {"$set": {MARK: True}})

    async def store_forms(self, texts: Sequence[Text]) -> None:
        """Store the normal forms of texts beside them. Nobody else sees a difference: versions and times stay."""
        writes = [UpdateOne({"_id": ObjectId(each.key[1])}, {"$set": {self._form: each.form}}) for each in texts]
        for first in range(0, len(writes), _AT_ONCE):
            with pymongo.timeout(EXPORT_PAGE_SECONDS):
                await self.collection.bulk_write(writes[first : first + _AT_ONCE], ordered=False)

    def text_of(self, row: Row) -> Text:
        form = form_to_store(row[self.text])
        return Text(key_of(row[self.order], row["_id"]), row[self.owner], row[self.group], row[self.text], form)

    def lacks_form(self, row: Row, text: Text) -> bool:
        """Whether the row's text has a normal form that is not stored: an older server wrote it."""
        return text.form is not None and row.get(self._form) != text.form

    async def _read(self, condition: Mapping[str, Any], limit: int, **options: Any) -> tuple[list[Row], bool]:
        """Rows in order, fewer than the limit where the texts are very long, and whether there are no more."""
        rows: list[Row] = []
        characters = 0
        with pymongo.timeout(EXPORT_PAGE_SECONDS):
            async with self.collection.find(
                condition, self._fields, sort=self._sort, limit=limit, batch_size=_AT_ONCE, **options
            ) as cursor:
                async for row in cursor:
                    rows.append(row)
                    characters += len(row[self.text])
                    if characters > _PIECE_CHARACTERS:
                        return rows, False
        return rows, len(rows) < limit

    @property
    def _fields(self) -> dict[str, int]:
        return dict.fromkeys((self.text, self._form, self.owner, self.group, self.order), 1)

    @property
    def _form(self) -> str:
        return form_path(self.text)

    @property
    def _sort(self) -> list[tuple[str, int]]:
        return [(self.order, 1), ("_id", 1)]
