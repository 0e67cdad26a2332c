"""Reading the query string of a summary."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any

from app.kit.errors import FieldError
from app.kit.listing import Listing, parse_listing
from app.kit.resource import Column
from app.kit.zones import open_time_zone
from app.stats.tables import PERIODS, TOTAL, Stats

MAX_KEYS = 3
MAX_DAYS = 3660
DEFAULT_DAYS = 30
OWN_PARAMETERS = frozenset({"by", "since", "until", "tz", "columns", "sort"})


@dataclass(frozen=True)
class StatsRequest:
    """What is asked: the groups of `by`, of the rows from `since` on and before `until`, with these columns.

    `tz`: the name of the time zone in which periods begin. `sort`: one of the columns; None is the order of the keys.
    """

    stats: Stats
    listing: Listing
    by: tuple[str, ...]
    since: datetime
    until: datetime
    tz: str
    columns: Sequence[Column]
    sort: Column | None = None
    is_descending: bool = False

    @property
    def filters(self) -> dict[str, str]:
        """The filters as they were asked."""
        return {name: text for name, text in self.listing.asked.items() if name not in OWN_PARAMETERS}


async def parse_stats(
    stats: Stats, parameters: Iterable[tuple[str, str]], *, instant: datetime, faults: Sequence[FieldError] = ()
) -> StatsRequest:
    """Read `parameters` at this instant. `faults`: of others. Raises Invalid naming every parameter at fault."""
    asked = list(parameters)
    own = _Own(stats, {name: text for name, text in asked if name in OWN_PARAMETERS})
    zone = await own.zone()
    by = own.read("by", own.by, ())
    columns = own.read("columns", lambda: own.columns(by), ())
    sort, is_descending = own.read("sort", lambda: own.sort(columns), (None, False))
    until = own.read("until", lambda: own.instant("until", zone), None) or instant
    since = own.read("since", lambda: own.since(until, zone), until)
    # Last, because it raises all that was found.
    listing = parse_listing(stats.filtered, asked, paged=False, beside=OWN_PARAMETERS, faults=[*faults, *own.faults])
    return StatsRequest(stats, listing, by, since, until, own.tz, columns, sort, is_descending)


class _Own:
    """The parameters that lists do not have, and what is wrong with them."""

    def __init__(self, stats: Stats, values: dict[str, str]) -> None:
        self._stats = stats
        self._values = values
        self.faults: list[FieldError] = []
        self.tz = values.get("tz", "UTC")

    def read(self, name: str, read: Callable[[], Any], otherwise: Any) -> Any:
        """What `read` answers; `otherwise` when it refuses."""
        try:
            return read()
        except ValueError as error:
            self.faults.append(FieldError(f"query.{name}", str(error)))
            return otherwise

    async def zone(self) -> tzinfo:
        try:
            return await open_time_zone(self.tz)
        except ValueError as error:
            self.faults.append(FieldError("query.tz", str(error)))
            return UTC

    def by(self) -> tuple[str, ...]:
        names = tuple(name.strip() for name in self._values.get("by", PERIODS[0]).split(","))
        unknown = [name for name in names if name not in self._stats.keys]
        if unknown:
            raise ValueError(f"has no {unknown[0]!r}; there are {', '.join(self._stats.keys)}")
        if len(names) > MAX_KEYS or len(set(names)) < len(names):
            raise ValueError(f"takes at most {MAX_KEYS} names, each once")
        if len(set(names) & set(PERIODS)) > 1:
            raise ValueError(f"takes one of {', '.join(PERIODS)}")
        if TOTAL in names and len(names) > 1:
            raise ValueError(f"takes {TOTAL!r} alone")
        return names

    def columns(self, by: Sequence[str]) -> Sequence[Column]:
        keys = [column for name in by for column in self._stats.keys[name]]
        known = {column.name: column for column in (*keys, *self._stats.figures)}
        if "columns" not in self._values:
            return tuple(known.values())
        names = dict.fromkeys(name.strip() for name in self._values["columns"].split(","))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"has no {unknown[0]!r}; there are {', '.join(known)}")
        return tuple(known[name] for name in names)

    def sort(self, columns: Sequence[Column]) -> tuple[Column | None, bool]:
        text = self._values.get("sort")
        if text is None:
            return None, False
        name = text.removeprefix("-")
        found = [column for column in columns if column.name == name]
        if not found:
            raise ValueError("is one of the columns, with '-' before it for the reverse")
        return found[0], text != name

    def instant(self, name: str, zone: tzinfo) -> datetime | None:
        """The instant of a parameter; a date is its beginning in the zone. Milliseconds, as they are stored."""
        if name not in self._values:
            return None
        try:
            instant = datetime.fromisoformat(self._values[name])
            local = instant.replace(tzinfo=zone) if instant.tzinfo is None else instant
            utc = local.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise ValueError(
                "is a date such as 2026-01-31, or an instant such as 2026-01-31T12:00:00Z (a plus sign as %2B)"
            ) from error
        return utc.replace(microsecond=utc.microsecond // 1000 * 1000)

    def since(self, until: datetime, zone: tzinfo) -> datetime:
        since = self.instant("since", zone) or _days_before(until, zone)
        if not since < until:
            raise ValueError("lies before until")
        if until - since > timedelta(days=MAX_DAYS):
            raise ValueError(f"lies at most {MAX_DAYS} days before until")
        return since


def _days_before(until: datetime, zone: tzinfo) -> datetime:
    """The beginning of a day in the zone, so that there are so many whole days, counting the one that is not over."""
    try:
        last = (until - timedelta(milliseconds=1)).astimezone(zone).date()
        first = last - timedelta(days=DEFAULT_DAYS - 1)
        return datetime.combine(first, time(), zone).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("has to be given with this until") from error
