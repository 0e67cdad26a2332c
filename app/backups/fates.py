"""What does not come back as it was: rows about processes, sessions and moments of another time.

Everything else is restored as it was at the instant of the backup. `docs/operations.md` tells people so.
"""

from collections.abc import Mapping
from typing import Any

LEFT_OUT: Mapping[str, str] = {
    "sessions": "whoever was signed out since would be signed in again; people sign in anew",
    "refresh_tokens": "they belong to sessions",
    "login_attempts": "counters of minutes",
    "rate_counts": "counters of minutes",
    "presence": "who followed a conversation at that moment",
}
"""Collections that come back empty, and why."""

_NOWHERE = {"_data": f"8200000001000000012B022C0100296E5A1004{'0' * 32}461E5F6964002B020004"}
"""A well-formed place of a change stream that is in no log: the first second of 1970, a collection that never was."""

CHANGED: Mapping[str, list[dict[str, Any]]] = {
    # The processes are gone: whoever starts next ends their turns and goes on with their jobs.
    "workers": [{"$set": {"is_dead": True, "expires_at": "$$NOW"}}],
    # The place lies in another log. As it cannot be found, each webhook is told `webhook.gap`.
    "webhook_relay": [
        {"$set": {"token": {"$literal": _NOWHERE}, "start": None, "holder": None, "expires_at": None}},
    ],
}
"""Collections whose rows are changed, and how."""
