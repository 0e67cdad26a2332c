"""Days and months, in UTC."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

PeriodName = Literal["day", "month"]
_KEPT = timedelta(days=62)


@dataclass(frozen=True)
class Period:
    name: PeriodName
    begins_at: datetime
    ends_at: datetime

    def id_of(self, subject: str) -> str:
        """Names what a subject has used in it."""
        return f"{subject}@{self.begins_at:%Y-%m-%d}" if self.name == "day" else f"{subject}@{self.begins_at:%Y-%m}"

    @property
    def forgotten_at(self) -> datetime:
        """When counts of it are removed."""
        return self.ends_at + _KEPT


def periods_at(instant: datetime) -> Sequence[Period]:
    """The day and the month that an instant lies in."""
    day = instant.replace(hour=0, minute=0, second=0, microsecond=0)
    month = day.replace(day=1)
    return (
        Period("day", day, day + timedelta(days=1)),
        Period("month", month, (month + timedelta(days=32)).replace(day=1)),
    )
