"""The command line on a database of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.cli.command import Verbatim, Worker

DATABASE = "verbatim_test_cli"


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    started = Worker()
    yield started
    started.close()


@pytest.fixture
def verbatim(worker: Worker, mongo_uri: str, tmp_path: Path) -> Iterator[Verbatim]:
    """The command line on an empty database."""
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongo_uri) as client:
        client.drop_database(DATABASE)
        yield Verbatim(worker, mongo_uri, DATABASE, tmp_path)
        client.drop_database(DATABASE)


@pytest.fixture
def stored(verbatim: Verbatim) -> Iterator[Any]:
    """The database that the commands use."""
    with MongoClient[dict[str, Any]](verbatim.uri) as client:
        yield client[verbatim.database]
