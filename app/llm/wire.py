"""OpenAI's chat completions as JSON, read: any server's answer in, its pieces out. Pure functions.

Tolerant where servers are known to differ (see `read_piece`), strict about types: what cannot be read is a
`ProviderError` with code `upstream_invalid`.
"""

import json
from typing import Any, NamedTuple, TypeGuard

import orjson

from app.llm.answer import shorten
from app.llm.failures import error_in_stream, not_a_completion
from app.llm.provider import Usage

_MAX_REASON = 64
_MAX_COUNT = 2**53

# DeepSeek, Qwen and older vLLM; OpenRouter, Groq, Ollama and newer vLLM. Some send both, with the same text.
_REASONING = ("reasoning_content", "reasoning")
_PLAIN = frozenset(("role", "content"))  # what most deltas have, and nothing else


class CallPiece(NamedTuple):
    """A piece of a tool call; `position` is its `index`, `is_whole` that no more will follow."""

    position: int | None
    id: str
    name: str
    arguments: str
    is_whole: bool = False


class Piece(NamedTuple):
    """What one event of the stream, or one whole completion, said; `is_token` that the model has begun to answer."""

    text: str = ""
    reason: str | None = None
    usage: Usage | None = None
    is_token: bool = False
    reasoning: str = ""
    tool_calls: tuple[CallPiece, ...] = ()


def read_piece(payload: str, provider: str, *, secret: str | None = None) -> Piece:
    """One `chat.completion.chunk`, or a whole `chat.completion` from a server that does not stream.

    Tolerated: no or empty `choices` (only usage), null content, a repeated role, a finish reason of "", `error: null`,
    usage in any event or in its choice (Moonshot), content as a list of parts (Mistral), unknown fields. An `error`
    object raises what it says. Text may hold lone surrogates here; `AnswerText` and `ToolCallPieces` mend them.
    """
    event = _parse(payload, provider)
    if event.get("error"):
        raise error_in_stream(event["error"], provider, secret=secret)
    choice = _first_choice(event, provider)
    delta = choice.get("delta") or choice.get("message") or {}
    if not isinstance(delta, dict):
        raise not_a_completion(provider)
    reason = choice.get("finish_reason")
    usage = event.get("usage") or choice.get("usage")
    text, reasoning = _read_content(delta.get("content") or "", provider)
    calls: tuple[CallPiece, ...] = ()
    if delta.keys() - _PLAIN:
        reasoning = reasoning or _read_reasoning(delta)
        calls = _read_calls(delta.get("tool_calls") or [], provider)
    return Piece(
        text,
        shorten(reason, _MAX_REASON) if isinstance(reason, str) and reason else None,
        _read_usage(usage) if usage else None,
        bool(text) or _is_token(delta),
        reasoning,
        calls,
    )


def _parse(payload: str, provider: str) -> dict[str, Any]:
    try:
        event = orjson.loads(payload)
    except ValueError:
        event = _parse_oddities(payload, provider)
    if not isinstance(event, dict):
        raise not_a_completion(provider)
    return event


def _parse_oddities(payload: str, provider: str) -> Any:
    """What orjson refuses and some servers send: escapes of lone surrogates, NaN."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise not_a_completion(provider) from error


def _first_choice(event: dict[str, Any], provider: str) -> dict[str, Any]:
    choices = event.get("choices") or []
    choice = (choices[0] if choices else {}) if isinstance(choices, list) else None
    if not isinstance(choice, dict):
        raise not_a_completion(provider)
    return choice


def _is_token(delta: dict[str, Any]) -> bool:
    return any(delta[name] for name in delta if name != "role")


def _read_content(content: Any, provider: str) -> tuple[str, str]:
    """Text and reasoning of a message's content: a string, or parts of `text` and of `thinking`."""
    if isinstance(content, str):
        return content, ""
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise not_a_completion(provider)
    texts = [part["text"] for part in content if isinstance(part.get("text"), str)]
    thoughts = [part["thinking"] for part in content if isinstance(part.get("thinking"), list)]
    inner = [each["text"] for parts in thoughts for each in parts if isinstance(each, dict) and _has_text(each)]
    return "".join(texts), "".join(inner)


def _has_text(part: dict[str, Any]) -> bool:
    return isinstance(part.get("text"), str)


def _read_reasoning(delta: dict[str, Any]) -> str:
    return next((delta[name] for name in _REASONING if isinstance(delta.get(name), str) and delta[name]), "")


def _read_calls(calls: Any, provider: str) -> tuple[CallPiece, ...]:
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise not_a_completion(provider)
    return tuple(_read_call(call, provider) for call in calls)


def _read_call(call: dict[str, Any], provider: str) -> CallPiece:
    function = call.get("function") or {}
    if not isinstance(function, dict):
        raise not_a_completion(provider)
    index, arguments = call.get("index"), function.get("arguments")
    is_object = arguments is not None and not isinstance(arguments, str)
    return CallPiece(
        index if isinstance(index, int) else None,
        _as_text(call.get("id")),
        _as_text(function.get("name")),
        json.dumps(arguments, ensure_ascii=False) if is_object else arguments or "",
        is_whole=is_object,
    )


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else ""


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
