"""Time as MongoDB stores it."""

from datetime import UTC, datetime


def now() -> datetime:
    """This instant in UTC, cut to the milliseconds that BSON can hold, so that what is answered equals what is read."""
    instant = datetime.now(UTC)
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)
