"""A resource with a column of every kind, and its repository over a collection of its own."""

from typing import Any

from pymongo.asynchronous.collection import AsyncCollection

from app.kit.documents import StoredDocument
from app.kit.paging import Cursors
from app.kit.repository import Repository, Row
from app.kit.resource import Column, Resource
from app.kit.turnstile import Turnstile

SAMPLES = Resource(
    name="samples",
    singular="sample",
    live_filter={"state": {"$ne": "gone"}},
    columns=(
        Column("id", "Id", "id", filterable=True, sortable=True),
        Column("title", "Title", filterable=True, sortable=True, searchable=True),
        Column("note", "Note", nullable=True, searchable=True),
        Column("tags", "Tags", "texts", filterable=True),
        Column("rank", "Rank", "integer", nullable=True, filterable=True, sortable=True),
        Column("weight", "Weight", "number", nullable=True, filterable=True),
        Column("active", "Active", "boolean", filterable=True),
        Column("seen_at", "Seen", "instant", nullable=True, filterable=True, sortable=True),
        Column("born", "Born", "date", nullable=True, filterable=True),
        Column("state", "State", choices=("new", "old", "gone"), filterable=True),
        Column("place.city", "City", nullable=True, filterable=True),
        Column("place.street", "Street", nullable=True),
        Column("extra", "Extra", "json", filterable=True),
        Column("number", "Number", "integer", sortable=True, unique=True),
        Column("created_at", "Created", "instant", sortable=True),
    ),
)


class SampleRepository(Repository[StoredDocument]):
    resource = SAMPLES

    def __init__(self, cursors: Cursors, collection: AsyncCollection[Row], turnstile: Turnstile | None = None) -> None:
        super().__init__(cursors, turnstile)
        self._collection = collection

    @property
    def collection(self) -> AsyncCollection[Row]:
        return self._collection


def sample(number: int, **values: Any) -> Row:
    """A stored row, with a title, a state and a version unless `values` say otherwise."""
    return {"number": number, "title": f"t{number}", "state": "new", "version": 1, **values}
