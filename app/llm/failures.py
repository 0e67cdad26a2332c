"""What it means when an upstream does not answer: one stable code and one sentence that may be shown."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

from app.llm.answer import shorten
from app.llm.provider import ErrorCode, ProviderError

_MAX_DETAIL = 200

_ERRORS: Mapping[int, tuple[ErrorCode, str]] = {
    401: ("upstream_rejected", "refused our credentials"),
    403: ("upstream_rejected", "refused our credentials"),
    404: ("upstream_rejected", "does not know this model or address"),
    408: ("upstream_timeout", "gave up waiting for the request"),
    413: ("upstream_rejected", "found the request too large"),
    429: ("upstream_rate_limited", "is limiting our requests"),
    503: ("upstream_failed", "is overloaded or down"),
    504: ("upstream_failed", "got no answer from its own upstream"),
}
_ERRORS_BY_CLASS: Mapping[int, tuple[ErrorCode, str]] = {
    3: ("upstream_invalid", "answered with a redirect, which is not followed"),
    4: ("upstream_rejected", "rejected the request"),
    5: ("upstream_failed", "failed"),
}
# Their explanation often repeats the key.
_CREDENTIAL_STATUSES = frozenset((401, 403))


def error_for_status(
    status: int, body: bytes, headers: Mapping[str, str], provider: str, *, secret: str | None = None
) -> ProviderError:
    """What an answer that is no success means; `body` may be anything, its message is quoted if it has one."""
    try:
        detail = _detail(json.loads(body))
    except (ValueError, RecursionError):
        detail = ""
    return _error(status, detail, provider, secret=secret, retry_after=_retry_after(headers))


def error_in_stream(error: Any, provider: str, *, secret: str | None = None) -> ProviderError:
    """What an `error` inside the stream means; its `code` counts as a status when it is one."""
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code <= 599 else None
    return _error(status, _detail({"error": error}), provider, secret=secret)


def not_a_completion(provider: str) -> ProviderError:
    return ProviderError("upstream_invalid", f"{provider} answered with something that is not a chat completion.")


def _error(
    status: int | None, detail: str, provider: str, *, secret: str | None, retry_after: float | None = None
) -> ProviderError:
    by_class = _ERRORS_BY_CLASS.get((status or 500) // 100, ("upstream_invalid", "gave an answer that makes no sense"))
    code, sentence = _ERRORS.get(status or 500, by_class)
    shown = f" ({status})" if status else ""
    if secret:
        detail = detail.replace(secret, "***")
    quote = f": {shorten(detail, _MAX_DETAIL)}" if detail and status not in _CREDENTIAL_STATUSES else "."
    return ProviderError(code, f"{provider} {sentence}{shown}{quote}", status=status, retry_after=retry_after)


def _detail(body: Any) -> str:
    """The upstream's own message: `{"error": {"message"}}`, `{"error": "..."}`, `{"message"}` or `{"detail"}`."""
    if not isinstance(body, dict):
        return ""
    inner = body.get("error")
    candidates = (inner.get("message") if isinstance(inner, dict) else inner, body.get("message"), body.get("detail"))
    return next((each for each in candidates if isinstance(each, str)), "")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from `retry-after-ms`, or from `Retry-After` as seconds or as a date."""
    for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * factor
        except ValueError:
            continue
        return max(0.0, seconds) if isfinite(seconds) else None
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, (date.astimezone(UTC) - datetime.now(UTC)).total_seconds())
