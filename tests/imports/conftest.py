"""Files on disk, opened or to be imported."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from app.imports.readers import Source, open_source

from .samples import line_of

Write = Callable[..., Path]


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    def write_and_open(data: bytes, name: str = "file") -> Source:
        path = tmp_path / name
        path.write_bytes(data)
        return open_source(path)

    return write_and_open


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of these items: a line each, or bytes as they are."""

    def written(items: Iterable[Any], name: str = "file.jsonl") -> Path:
        path = tmp_path / name
        path.write_bytes(b"".join(item if isinstance(item, bytes) else line_of(item) for item in items))
        return path

    return written
