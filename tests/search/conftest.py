"""An index of messages over an empty database."""

from collections.abc import AsyncIterator

import pytest

from app.conversations.content_index import content_index
from app.conversations.repository import MessageRepository
from app.database import Database
from app.search.builder import Sizes
from app.search.index import TextIndex

SMALL = Sizes(least=10, most=60, fanout=3, largest=100_000)
"""So few messages make many segments and merges."""


@pytest.fixture
async def index(empty_database: Database) -> AsyncIterator[TextIndex]:
    index = content_index(sizes=SMALL, scrub_seconds=0)
    yield index
    await index.aclose()


@pytest.fixture
async def other(empty_database: Database) -> AsyncIterator[TextIndex]:
    """The same index in another process."""
    index = content_index(sizes=SMALL, scrub_seconds=0)
    yield index
    await index.aclose()


@pytest.fixture
def messages(empty_database: Database, index: TextIndex) -> MessageRepository:
    return MessageRepository(empty_database.cursors, index=index)
