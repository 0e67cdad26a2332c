"""Whether somebody exists cannot be told by the time of a refusal either: statistics of many logins.

Measured is processor time, in turns, so that other work of the machine is in both or in none of them.
"""

import statistics
import time

import httpx
import pytest
from argon2 import PasswordHasher

from app.config import Settings
from app.kit import security
from app.services import Services
from tests.auth.signing_in import give_password, token
from tests.conftest import Person

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

ROUNDS = 40


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"login_attempts": 1_000_000, "login_attempts_per_address": 1_000_000})


async def test_an_unknown_user_takes_as_long_as_a_wrong_password(
    anonymous: httpx.AsyncClient, services: Services, ana: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hash of some milliseconds: without it for one of the two, the medians would be several times apart."""
    monkeypatch.setattr(security, "_hasher", PasswordHasher(time_cost=4, memory_cost=8192, parallelism=1))
    monkeypatch.setattr(security, "_NOBODYS_HASH", security._nobodys_hash())
    await give_password(services, ana)
    spent: dict[str, list[float]] = {ana.email: [], "nobody@example.com": []}
    for _ in range(ROUNDS):
        for email, times in spent.items():
            began = time.process_time()
            refused = await token(anonymous, grant_type="password", username=email, password="wrong password")
            times.append(time.process_time() - began)
            assert refused.status_code == 400

    known, unknown = (statistics.median(times) for times in spent.values())
    hashing = min(min(times) for times in spent.values())
    assert abs(known - unknown) < 0.25 * min(known, unknown), (known, unknown)
    assert hashing > 0.004, "the comparison has to outweigh the rest for this to tell anything"
