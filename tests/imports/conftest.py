"""A file on disk, opened to be imported."""

from pathlib import Path
from typing import Any

import pytest

from app.imports.readers import Source, open_source


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    def write_and_open(data: bytes, name: str = "file") -> Source:
        path = tmp_path / name
        path.write_bytes(data)
        return open_source(path)

    return write_and_open
