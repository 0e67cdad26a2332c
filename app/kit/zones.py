"""Time zones by the names of the IANA database."""

from importlib.resources import files
from zoneinfo import ZoneInfo

from app.kit.threads import in_thread

TIME_ZONES = frozenset(files("tzdata").joinpath("zones").read_text().split())
"""The same on every machine; an operating system's may lack some or count leap seconds."""


def check_time_zone(name: str) -> str:
    """The name; raises ValueError with a sentence when there is no such zone."""
    if name not in TIME_ZONES:
        raise ValueError("is no time zone; one is named like Europe/Berlin, Asia/Shanghai or UTC")
    return name


async def open_time_zone(name: str) -> ZoneInfo:
    """The rules of a zone, whose first use reads a file. Raises ValueError."""
    return await in_thread(lambda: ZoneInfo(check_time_zone(name)))
