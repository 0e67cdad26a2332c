"""When a delivery is attempted again, and which settings say where to."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from app.config import Settings
from app.webhooks.retries import JITTER, LONGEST_WAIT, Times

START = datetime(2026, 1, 1, tzinfo=UTC)
NOTHING = timedelta()


def attempts(least: timedelta = NOTHING) -> list[datetime]:
    """The instants of all attempts of a delivery that fails each time."""
    times, instants = Times(), [START]
    end = times.of_new(START)["give_up_at"]
    while (following := times.next_attempt(len(instants), instants[-1], end, least)) is not None:
        instants.append(following)
    return instants


def test_attempts_begin_soon_and_go_on_for_a_day() -> None:
    instants = attempts()
    waits = [later - earlier for earlier, later in itertools.pairwise(instants)]

    assert 12 <= len(instants) <= 20
    assert instants[-1] == START + timedelta(hours=24)
    for wait, usual in zip(waits, (5, 15, 45, 135, 405, 1215, 3645), strict=False):
        assert usual * (1 - JITTER) <= wait.total_seconds() <= usual * (1 + JITTER)
    assert max(waits) <= LONGEST_WAIT * (1 + JITTER)
    assert attempts() != instants


def test_a_receiver_may_ask_for_more_time_but_not_for_all_of_it() -> None:
    instants = attempts(least=timedelta(days=365))

    assert instants[1] - START == LONGEST_WAIT
    assert len(instants) == 9


def test_a_webhook_has_failed_for_long_after_most_of_a_day() -> None:
    times = Times()

    assert not times.has_failed_for_long(None, START)
    assert not times.has_failed_for_long(START, START + timedelta(hours=12))
    assert times.has_failed_for_long(START, START + timedelta(hours=23))


@pytest.mark.parametrize(
    "entry", ["10.0.0.0/33", "10.1.2.3/16", "http://x/", "*.example.com", "0x7f.1", "2130706433", ""]
)
def test_what_cannot_be_allowed_is_refused_at_the_start(entry: str) -> None:
    with pytest.raises(ValidationError, match="no host, address or network"):
        Settings(_env_file=None, webhook_allow=[entry])


def test_what_can_be_allowed() -> None:
    allowed = ["localhost", "Hooks-1.internal", "10.1.0.0/16", "127.0.0.1", "fd00::/8", "::1"]

    assert Settings(_env_file=None, webhook_allow=allowed).webhook_allow == [each.lower() for each in allowed]
