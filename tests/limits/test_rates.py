"""How many requests in a minute: the sliding window, and what processes tell each other."""

import time

import httpx
import pytest
from fastapi import FastAPI
from pymongo.errors import AutoReconnect

from app.config import Settings
from app.database import Database
from app.limits import rates
from app.limits.rates import RateLimits, Verdict
from app.limits.repository import RateRepository
from tests.conftest import Person, client_of


class Clock:
    """Seconds that go by only when a test says so."""

    def __init__(self) -> None:
        self.now = 60.0 * (time.time() // 60)  # counts of another time would be removed

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limits(clock: Clock, quota: int = 10) -> RateLimits:
    return RateLimits(RateRepository(), per_user=quota, per_address=0, clock=clock)


def take(rates: RateLimits, whose: str = "ana") -> Verdict:
    verdict = rates.take(rates.user, whose)
    assert verdict is not None
    return verdict


def admitted(rates: RateLimits, whose: str = "ana", asked: int = 100) -> int:
    return sum(take(rates, whose).is_admitted for _ in range(asked))


def test_as_many_as_the_quota_are_let_in_and_no_more(clock: Clock) -> None:
    own = limits(clock)

    first = take(own)

    assert (first.field, first.policy.field) == ('"user";r=9;t=60', '"user";q=10;w=60')
    assert admitted(own) == 9
    assert take(own).remaining == 0
    assert admitted(own, "ben") == 10


def test_no_edge_of_a_minute_doubles_the_rate(clock: Clock) -> None:
    own = limits(clock)
    clock.now += 59
    assert admitted(own) == 10
    clock.now += 2

    assert admitted(own) == 0
    clock.now += 30
    assert admitted(own) == 5


def test_who_waits_as_long_as_is_said_is_let_in(clock: Clock) -> None:
    own = limits(clock)
    clock.now += 7
    admitted(own)
    for _ in range(20):
        refusal = take(own)
        assert not refusal.is_admitted
        clock.now += refusal.seconds
        assert take(own).is_admitted
        admitted(own)


def test_after_two_minutes_everything_is_forgotten(clock: Clock) -> None:
    own = limits(clock)
    admitted(own)
    clock.now += 120

    assert admitted(own) == 10


def test_without_a_quota_nothing_is_counted(clock: Clock) -> None:
    own = limits(clock)

    assert own.take(own.address, "127.0.0.1") is None


def test_memory_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MAX_SUBJECTS", 3)
    own = limits(clock)
    for number in range(10):
        take(own, str(number))

    assert len(own._counts) == 3


async def test_processes_share_what_they_count(clock: Clock, empty_database: Database) -> None:
    one, other = limits(clock), limits(clock)
    assert admitted(one, asked=6) == 6
    assert take(other).is_admitted  # nobody has told it yet
    for each in (one, other, one):
        await each.share()

    assert take(other).remaining == 2
    assert admitted(other) == 2
    await other.share()
    assert take(one).is_admitted  # the last second of others is not known
    await one.share()
    assert admitted(one) == 0


async def test_a_database_that_is_away_refuses_nobody_and_loses_no_count(
    clock: Clock, empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = limits(clock), limits(clock)

    async def fail(*_: object) -> None:
        raise AutoReconnect

    assert admitted(one, asked=4) == 4
    with monkeypatch.context() as broken:
        broken.setattr(RateRepository, "add", fail)
        with pytest.raises(AutoReconnect):
            await one.share()
    assert admitted(one, asked=2) == 2
    await one.share()
    take(other)
    await other.share()

    assert admitted(other) == 3


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"rate_limit_per_user": 5, "rate_limit_per_address": 20})


async def test_a_user_is_told_how_much_is_left_and_then_refused(
    as_ana: httpx.AsyncClient, as_ben: httpx.AsyncClient, app: FastAPI
) -> None:
    app.state.services.limits.rates._clock = Clock()
    answers = [await as_ana.get("/api/users/me") for _ in range(6)]

    assert [each.status_code for each in answers] == [200] * 5 + [429]
    assert answers[0].headers["ratelimit-policy"] == '"user";q=5;w=60, "address";q=20;w=60'
    assert answers[0].headers["ratelimit"] == '"user";r=4;t=60, "address";r=19;t=60'
    refused = answers[-1]
    assert refused.json()["code"] == "too_many_requests"
    assert int(refused.headers["retry-after"]) > 0
    assert refused.headers["ratelimit"].startswith('"user";r=0;')
    assert (await as_ben.get("/api/users/me")).status_code == 200


async def test_an_address_is_refused_whoever_it_claims_to_be(
    anonymous: httpx.AsyncClient, as_ben: httpx.AsyncClient, app: FastAPI
) -> None:
    app.state.services.limits.rates._clock = Clock()
    guesses = [{"Authorization": f"Bearer vb_guess{number}"} for number in range(20)]
    statuses = [(await anonymous.get("/api/users/me", headers=each)).status_code for each in guesses]

    assert statuses == [401] * 20
    for client in (anonymous, as_ben):
        refused = await client.get("/api/users/me")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    assert (await anonymous.get("/health/live")).status_code == 200


async def test_every_credential_of_a_user_counts_together(app: FastAPI, ana: Person, as_ana: httpx.AsyncClient) -> None:
    app.state.services.limits.rates._clock = Clock()
    key = (await as_ana.post("/api/keys", json={"name": "other"})).json()["key"]
    for _ in range(4):
        await as_ana.get("/api/users/me")

    async with client_of(app, Person(ana.id, ana.email, key)) as other:
        assert (await other.get("/api/users/me")).status_code == 429
