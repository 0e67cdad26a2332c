"""What tests of export jobs share."""

import pytest

from app.exports import writing
from app.kit.repository import Row


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs do not wait for the second of their snapshot to pass, where nothing is written meanwhile."""

    async def taken(_: Row) -> None: ...

    monkeypatch.setattr(writing, "_snapshot_taken", taken)
