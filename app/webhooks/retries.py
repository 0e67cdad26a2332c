"""When a delivery is attempted: at once, soon again at first, then ever more rarely, for a day."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

LONGEST_WAIT = timedelta(hours=3)
FACTOR = 3
JITTER = 0.2
"""Waits differ by so much, so that what failed together does not come back together."""
_MOST_FACTORS = 20


@dataclass(frozen=True)
class Times:
    """`first`: the wait after the first failure; `give_up`: how long after the event the last attempt is; `kept`: how
    long a delivery is shown in the log."""

    first: timedelta = timedelta(seconds=5)
    give_up: timedelta = timedelta(hours=24)
    kept: timedelta = timedelta(days=7)

    def of_new(self, at: datetime) -> dict[str, Any]:
        """The times of a delivery that begins now, or begins again."""
        return {"next_attempt_at": at, "give_up_at": at + self.give_up, "expires_at": at + self.kept}

    def next_attempt(self, attempts: int, at: datetime, give_up_at: datetime, least: timedelta) -> datetime | None:
        """When to try again after so many attempts; None when that was the last one.

        `least`: how long the receiver has asked to be left alone, which counts up to the longest wait.
        """
        if at >= give_up_at:
            return None
        wait: timedelta = min(self.first * FACTOR ** min(attempts - 1, _MOST_FACTORS), LONGEST_WAIT)
        wait *= random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 spreads, does not protect
        return min(at + max(wait, min(least, LONGEST_WAIT)), give_up_at)

    def has_failed_for_long(self, failing_since: datetime | None, at: datetime) -> bool:
        """Whether a webhook has not had a success in (almost) all the time in which one delivery is attempted."""
        return failing_since is not None and at - failing_since >= 0.9 * self.give_up
