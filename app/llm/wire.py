"""OpenAI's chat completions as JSON: our request in, any server's answer out. Pure functions, nothing is sent here.

Tolerant where servers are known to differ (see `read_piece`), strict about types: what cannot be read is a
`ProviderError` with code `upstream_invalid`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any, TypeGuard

import orjson

from app.llm.answer import well_formed
from app.llm.provider import CompletionRequest, ErrorCode, ProviderError, Usage

_MAX_DETAIL = 200
_MAX_REASON = 64
_MAX_COUNT = 2**53

# Tool calls are not part of a `ChatMessage`, and servers refuse a tool's message without its call.
_WIRE_ROLES = {"tool": "user"}

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


@dataclass(frozen=True)
class Piece:
    """What one event of the stream, or one whole completion, said; `is_token` that the model has begun to answer."""

    text: str = ""
    reason: str | None = None
    usage: Usage | None = None
    is_token: bool = False


def request_body(request: CompletionRequest) -> bytes:
    """The JSON of a streamed call; parameters that are None are left out."""
    optional = {"temperature": request.temperature, "top_p": request.top_p, "max_tokens": request.max_tokens}
    return orjson.dumps(
        {
            "model": request.model,
            "messages": [
                {"role": _WIRE_ROLES.get(each.role, each.role), "content": each.content} for each in request.messages
            ],
            "stream": True,
            "stream_options": {"include_usage": True},
            **{name: value for name, value in optional.items() if value is not None},
        }
    )


def read_piece(payload: str, provider: str, *, secret: str | None = None) -> Piece:
    """One `chat.completion.chunk`, or a whole `chat.completion` from a server that does not stream.

    Tolerated: no or empty `choices` (only usage), null content, a repeated role, a finish reason of "", `error: null`,
    usage in any event, unknown fields such as `reasoning_content` (ignored, though it counts as a sign of life). An
    `error` object raises what it says. Text may hold lone surrogates here; `AnswerText` mends them.
    """
    event = _parse(payload, provider)
    if event.get("error"):
        raise error_in_stream(event["error"], provider, secret=secret)
    choice = _first_choice(event, provider)
    delta = choice.get("delta") or choice.get("message") or {}
    text = (delta.get("content") or "") if isinstance(delta, dict) else None
    if not isinstance(text, str):
        raise not_a_completion(provider)
    reason = choice.get("finish_reason")
    return Piece(
        text=text,
        reason=_shorten(reason, _MAX_REASON) if isinstance(reason, str) and reason else None,
        usage=_read_usage(event.get("usage")),
        is_token=any(value for name, value in delta.items() if name != "role"),
    )


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


def _parse(payload: str, provider: str) -> dict[str, Any]:
    # The standard library's parser: orjson refuses the lone surrogates that some servers send.
    try:
        event = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise not_a_completion(provider) from error
    if not isinstance(event, dict):
        raise not_a_completion(provider)
    return event


def _first_choice(event: dict[str, Any], provider: str) -> dict[str, Any]:
    choices = event.get("choices") or []
    choice = (choices[0] if choices else {}) if isinstance(choices, list) else None
    if not isinstance(choice, dict):
        raise not_a_completion(provider)
    return choice


def _read_usage(usage: Any) -> Usage | None:
    """A server that leaves out the total gets the sum; counts that are no plausible integers are no usage."""
    if not isinstance(usage, dict):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not (_is_count(prompt) and _is_count(completion)):
        return None
    total = usage.get("total_tokens")
    return Usage(prompt, completion, total if _is_count(total) else prompt + completion)


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_COUNT


def _error(
    status: int | None, detail: str, provider: str, *, secret: str | None, retry_after: float | None = None
) -> ProviderError:
    by_class = _ERRORS_BY_CLASS.get((status or 500) // 100, ("upstream_invalid", "gave an answer that makes no sense"))
    code, sentence = _ERRORS.get(status or 500, by_class)
    shown = f" ({status})" if status else ""
    if secret:
        detail = detail.replace(secret, "***")
    quote = f": {_shorten(detail, _MAX_DETAIL)}" if detail and status not in _CREDENTIAL_STATUSES else "."
    return ProviderError(code, f"{provider} {sentence}{shown}{quote}", status=status, retry_after=retry_after)


def _detail(body: Any) -> str:
    """The upstream's own message: `{"error": {"message"}}`, `{"error": "..."}`, `{"message"}` or `{"detail"}`."""
    if not isinstance(body, dict):
        return ""
    inner = body.get("error")
    candidates = (inner.get("message") if isinstance(inner, dict) else inner, body.get("message"), body.get("detail"))
    return next((each for each in candidates if isinstance(each, str)), "")


def _shorten(text: str, limit: int) -> str:
    """On one line, without control characters or lone surrogates, at most `limit` characters."""
    printable = "".join(char if char.isprintable() else " " for char in well_formed(text[: limit * 8]))
    line = " ".join(printable.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


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
