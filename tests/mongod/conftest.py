from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.mongod import find_mongod
from app.mongod.folder import DataFolder, FileLock

from .processes import until


@pytest.fixture(scope="package")
def binary() -> Path:
    return find_mongod(None)


@pytest.fixture
async def data(tmp_path: Path) -> AsyncIterator[Path]:
    """A data folder, which must be quiet soon after its test: no keeper, hence no mongod, is left behind."""
    folder = DataFolder(tmp_path / "data")
    yield folder.path
    if not folder.path.exists():
        return
    keeper = FileLock(folder.keeper_lock)
    try:
        await until(lambda: not keeper.is_taken())
    finally:
        keeper.close()
