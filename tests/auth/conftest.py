"""Passwords that cost little, for tests that are not about time."""

import pytest

from app.kit import security
from tests.auth.signing_in import FAST


@pytest.fixture
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "_hasher", FAST)
    monkeypatch.setattr(security, "_NOBODYS_HASH", security._nobodys_hash())
