"""mongomock-motor in the shape of PyMongo's asynchronous API, for the portable tier: `pytest --db=mock`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import mongomock
from bson import encode
from mongomock_motor import AsyncMongoMockClient, AsyncMongoMockCollection, AsyncMongoMockDatabase
from pymongo import IndexModel, UpdateOne

from app.database import DOCUMENTS, Database
from app.migrations.indexes import declared
from app.migrations.registry import MIGRATIONS

mongomock.ignore_feature("session")  # there are no transactions to leave: what is tested here needs none


class MockSession:
    """A session whose transaction simply runs its work."""

    async def with_transaction(self, callback: Callable[["MockSession"], Awaitable[Any]], **_: Any) -> Any:
        return await callback(self)


class MockReply:
    """The one reply of a raw cursor."""

    alive = False

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    async def __anext__(self) -> bytes:
        return b"".join(encode(row) for row in await self._cursor.to_list())

    async def close(self) -> None:
        """There is nothing to close."""


class MockCollection(AsyncMongoMockCollection):  # type: ignore[misc]
    async def aggregate(self, *args: Any, **kwargs: Any) -> Any:
        return super().aggregate(*args, **kwargs)

    async def list_indexes(self, *args: Any, **kwargs: Any) -> Any:
        return super().list_indexes(*args, **kwargs)

    async def bulk_write(self, requests: Sequence[UpdateOne], **_: Any) -> None:
        """mongomock's own does not know the operations of this driver."""
        for each in requests:
            await self.update_one(each._filter, each._doc, upsert=bool(each._upsert))

    def with_options(self, **_: Any) -> "MockCollection":
        """There is one member: whatever is stored is stored by all."""
        return self

    def find_raw_batches(
        self, *args: Any, batch_size: int, max_time_ms: int | None, hint: str | None, **kwargs: Any
    ) -> "MockReply":
        return MockReply(super().find(*args, **kwargs))

    async def create_indexes(self, indexes: Sequence[IndexModel], **_: Any) -> list[str]:
        """As mongomock's own, which forgets `partialFilterExpression`."""
        return [await self._create(dict(index.document)) for index in indexes]

    async def _create(self, index: dict[str, Any]) -> str:
        return str(await self.create_index(list(index.pop("key").items()), **index))


class MockDatabase(AsyncMongoMockDatabase):  # type: ignore[misc]
    def get_collection(self, name: str, *args: Any, **kwargs: Any) -> MockCollection:
        return MockCollection(self, self.delegate.get_collection(name, *args, **kwargs))

    def __getitem__(self, name: str) -> MockCollection:
        return self.get_collection(name)

    async def list_collection_names(self, *_: Any, **kwargs: Any) -> list[str]:
        kwargs.pop("authorizedCollections", None)
        return list(self.delegate.list_collection_names())


class MockClient(AsyncMongoMockClient):  # type: ignore[misc]
    def __getitem__(self, name: str) -> MockDatabase:
        return MockDatabase(self, super().__getitem__(name).delegate)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[MockSession]:
        yield MockSession()

    def start_session(self, *_: Any, **__: Any) -> Any:
        return self._session()


async def mock_migrations(database: Database) -> None:
    """What migrations do to a new database. Their leases need updates by pipeline, which mongomock has not."""
    for document in DOCUMENTS:
        if models := declared(document):
            await document.get_pymongo_collection().create_indexes(models)
    for each in MIGRATIONS:
        await database.client[database.name]["migrations"].insert_one({"_id": each.number, "state": "done"})
