"""Transactions: everything awaited inside one either happens or does not.

The session travels in a context variable, so that a repository's call cannot leave the transaction by forgetting it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import pymongo
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from app.kit import metrics
from app.kit.deadlines import WRITE_SECONDS

T = TypeVar("T")

_session: ContextVar[AsyncClientSession | None] = ContextVar("session", default=None)


def current_session() -> AsyncClientSession | None:
    """The session of the transaction this task is in, for the driver's `session=`."""
    return _session.get()


@asynccontextmanager
async def in_order(client: AsyncMongoClient[dict[str, Any]]) -> AsyncIterator[None]:
    """What is read in here is never older than what was read before it, whichever member answers."""
    if _session.get() is not None:
        yield
        return
    async with client.start_session(causal_consistency=True) as session:
        token = _session.set(session)
        try:
            yield
        finally:
            _session.reset(token)


@asynccontextmanager
async def beside(client: AsyncMongoClient[dict[str, Any]]) -> AsyncIterator[None]:
    """What is read in here is never older than what was read before it, and may be read beside other things: a session
    serves one operation after the other. Not for transactions."""
    current = _session.get()
    async with client.start_session(causal_consistency=True) as session:
        if current is not None and current.cluster_time is not None:
            session.advance_cluster_time(current.cluster_time)
        if current is not None and current.operation_time is not None:
            session.advance_operation_time(current.operation_time)
        token = _session.set(session)
        try:
            yield
        finally:
            _session.reset(token)


class Transactions:
    """Runs work in transactions of one client: snapshot reads, majority writes."""

    def __init__(self, client: AsyncMongoClient[dict[str, Any]]) -> None:
        self._client = client

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` in a transaction, or in the one that is already open.

        The driver calls `work` again when the transaction met a conflict or an election, so it must do nothing but
        read and write the database. A DuplicateKeyError must leave `work`: the transaction is over by then.
        """
        if _session.get() is not None:
            return await work()

        attempts = 0

        async def callback(session: AsyncClientSession) -> T:
            nonlocal attempts
            attempts += 1
            if attempts > 1:
                metrics.transactions_repeated.inc()
            token = _session.set(session)
            try:
                return await work()
            finally:
                _session.reset(token)

        with pymongo.timeout(WRITE_SECONDS):
            async with self._client.start_session() as session:
                return await session.with_transaction(
                    callback, read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority")
                )
