"""When a call that failed before its first token is sent once more."""

import secrets

from app.llm.provider import ProviderError
from app.upstream_settings import ProviderSettings

MAX_BACKOFF = 8.0

_random = secrets.SystemRandom()


def wait_before_retry(number: int, error: ProviderError, settings: ProviderSettings, *, left: float) -> float | None:
    """Seconds to wait after the failure of attempt `number` (from 0), None to give up. `left`: seconds for the answer.

    Exponential backoff with full jitter: somewhere between 0 and twice the last bound. An upstream that says when to
    come back is believed; when that is too long, waiting is left to the caller, who is told.
    """
    if not error.retryable or error.code == "upstream_unavailable" or number >= settings.max_retries:
        return None
    bound = min(MAX_BACKOFF, settings.retry_backoff * 2.0**number)
    asked = error.retry_after or 0.0
    if asked > settings.max_retry_wait:
        return None
    wait = asked + _random.uniform(0, bound)
    return wait if wait < left else None
