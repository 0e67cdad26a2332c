"""Time zones by the names of the IANA database."""

from zoneinfo import ZoneInfo, available_timezones

from app.kit.threads import in_thread

TIME_ZONES = frozenset(available_timezones())


def check_time_zone(name: str) -> str:
    """The name; raises ValueError with a sentence when there is no such zone."""
    if name not in TIME_ZONES:
        raise ValueError("is not a time zone such as Europe/Berlin")
    return name


async def open_time_zone(name: str) -> ZoneInfo:
    """The rules of a zone, whose first use reads a file. Raises ValueError."""
    return await in_thread(lambda: ZoneInfo(check_time_zone(name)))
