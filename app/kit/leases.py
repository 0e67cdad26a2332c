"""Leases: what one process at a time may do, judged by the database's clock alone; expressions for pipelines.

A row under a lease has `holder` and `expires_at`. Clocks of processes need not agree, and whoever dies is followed when
its lease has ended.
"""

from collections.abc import Mapping
from typing import Any

Expression = Mapping[str, Any]

ENDED: Expression = {"$unset": {"holder": "", "expires_at": ""}}
"""The update by which a holder lets go."""


def expiry(seconds: float) -> Expression:
    """The instant so many seconds from now."""
    return {"$dateAdd": {"startDate": "$$NOW", "unit": "millisecond", "amount": int(seconds * 1000)}}


def is_free_for(holder: str) -> Expression:
    """Whether the row is nobody's, this holder's already, or of one that was silent for too long."""
    return {"$or": [{"$eq": ["$holder", holder]}, {"$lt": [{"$ifNull": ["$expires_at", None]}, "$$NOW"]}]}
