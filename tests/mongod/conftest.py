from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from app.mongod import find_mongod
from app.mongod.folder import DataFolder, FileLock

from .processes import until


@pytest.fixture(scope="package")
def binary() -> Path:
    return find_mongod(None)


@pytest.fixture(scope="package")
async def used_folders() -> AsyncIterator[list[Path]]:
    """The folders of all tests; at the end none may have a keeper, hence a mongod, for long."""
    folders: list[Path] = []
    yield folders
    for folder in filter(Path.exists, folders):
        keeper = FileLock(DataFolder(folder).keeper_lock)
        await until(partial(is_free, keeper))
        keeper.close()


def is_free(lock: FileLock) -> bool:
    return not lock.is_taken()


@pytest.fixture
def data(tmp_path: Path, used_folders: list[Path]) -> Path:
    """A data folder that does not exist yet."""
    folder = (tmp_path / "data").resolve()
    used_folders.append(folder)
    return folder
