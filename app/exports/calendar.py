"""When a schedule is due: at a time of its own time zone, on every day or on one of the week."""

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from app.exports.model import WEEKDAYS, Weekday
from app.kit.clock import now
from app.kit.threads import in_thread


async def next_due(schedule: Mapping[str, Any]) -> datetime:
    """When a schedule is due from now on; in a thread, because a zone's rules are read from a file."""
    return await in_thread(partial(following, now(), schedule["at"], schedule["time_zone"], schedule["weekday"]))


def following(after: datetime, at: str, time_zone: str, weekday: Weekday | None) -> datetime:
    """The first instant behind `after`, in UTC, at which clocks there show `at` (`06:00`) on such a day.

    Where clocks skip that time, it is as much later as they skip; where they show it twice, the first time counts.
    """
    zone = ZoneInfo(time_zone)
    day = after.astimezone(zone).date() - timedelta(days=1)
    while True:
        if weekday is None or day.weekday() == WEEKDAYS.index(weekday):
            instant = datetime.combine(day, time.fromisoformat(at), zone).astimezone(UTC)
            if instant > after:
                return instant
        day += timedelta(days=1)
