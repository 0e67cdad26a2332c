"""The cache of the embedded mongod follows the memory that there is."""

import os
from pathlib import Path

import pytest

from app.mongod.memory import cache_gib

GIB = 2**30


@pytest.mark.parametrize(
    ("machine", "container", "cache"),
    [
        (1 * GIB, "max", 0.25),
        (4 * GIB, "max", 0.5),
        (64 * GIB, "max", 1.0),
        (64 * GIB, str(6 * GIB), 0.75),
        (64 * GIB, str(GIB // 2), 0.25),
        (4 * GIB, str(64 * GIB), 0.5),
        (4 * GIB, None, 0.5),
    ],
)
def test_it_is_an_eighth_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: int, container: str | None, cache: float
) -> None:
    figures = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": machine // 4096}
    monkeypatch.setattr(os, "sysconf", figures.__getitem__)
    limit = tmp_path / "memory.max"
    if container is not None:
        limit.write_text(f"{container}\n")

    assert cache_gib(limit) == cache
