"""What every language model looks like from inside: one async generator of text, and one kind of error.

A provider promises: no `TextDelta` is empty, every text can be stored (no lone surrogates), and exactly one `Finish`
comes, last. Whatever goes wrong upstream is a `ProviderError`; closing or cancelling the generator ends the call.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Role = Literal["system", "user", "assistant", "tool"]

ErrorCode = Literal[
    "upstream_timeout",
    "upstream_unreachable",
    "upstream_rejected",
    "upstream_rate_limited",
    "upstream_failed",
    "upstream_invalid",
    "upstream_cut",
    "upstream_unavailable",
]

# Whether the same request may succeed when it is sent once more.
_RETRYABLE: Mapping[ErrorCode, bool] = {
    "upstream_timeout": True,
    "upstream_unreachable": True,
    "upstream_rejected": False,
    "upstream_rate_limited": True,
    "upstream_failed": True,
    "upstream_invalid": False,
    "upstream_cut": True,
    "upstream_unavailable": True,
}


@dataclass(frozen=True)
class ToolCall:
    """A function the model wants called; `arguments` is JSON text as the model wrote it, which may not be JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class ChatMessage:
    """One message of the history; a message without text has empty content.

    `tool_calls` are an assistant's; `tool_call_id` says which of them a tool's message answers.
    """

    role: Role
    content: str
    tool_calls: Sequence[ToolCall] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True)
class CompletionRequest:
    """What is asked of a model; None leaves a parameter to the upstream's own default.

    `model` is the full name (`provider:model`, or `echo`) for `LanguageModels`, and the upstream's own name for a
    `Provider`. `tools` and `tool_choice` are passed on as given, in OpenAI's shape.
    """

    model: str
    messages: Sequence[ChatMessage]
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: Sequence[str] | None = None
    reasoning_effort: str | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    tool_choice: str | Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Usage:
    """Token counts as the upstream reported them, or `estimated` here because it reported none."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    estimated: bool = False


@dataclass(frozen=True)
class TextDelta:
    """The next piece of the answer, never empty."""

    text: str


@dataclass(frozen=True)
class Attempt:
    """One failed attempt before the first token: at which model (full name), and what went wrong."""

    model: str
    provider: str
    code: str
    message: str


@dataclass(frozen=True)
class Served:
    """Which model answers (full name), and what was tried before; comes once and first, from `LanguageModels` only."""

    model: str
    provider: str
    attempts: Sequence[Attempt] = ()


@dataclass(frozen=True)
class Finish:
    """The end of the answer: `stop`, `length`, `content_filter`, `tool_calls` or the upstream's own word.

    `usage` is None when the upstream reported none; `LanguageModels` never leaves it so. `reasoning` is what the model
    showed of its thinking, which is no part of the answer's text.
    """

    reason: str
    usage: Usage | None = None
    tool_calls: Sequence[ToolCall] = ()
    reasoning: str = ""


Chunk = Served | TextDelta | Finish


class ProviderError(Exception):
    """The upstream gave no complete answer.

    `message` is one sentence that may be shown to a client and stored. `status` is the upstream's HTTP status (or the
    one it put into an error inside the stream); `retry_after` is in seconds; `retryable` says whether the same request
    may succeed later. `attempts` are all that failed before the first token; `has_begun` says that this one failed
    behind it. Text that was streamed before the error is a true beginning of the answer.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        attempts: Sequence[Attempt] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.retryable = _RETRYABLE[code]
        self.attempts = attempts
        self.has_begun = False


class Provider(Protocol):
    """One source of answers, shared by all requests of the process."""

    name: str

    def stream(self, request: CompletionRequest, *, total: float | None = None) -> AsyncGenerator[Chunk, None]:
        """The answer, piece by piece, without `Served`; raises `ProviderError`. `total`: seconds it may take in all.

        Close it (`contextlib.aclosing`) when it is left early: that frees the upstream connection at once.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection; answers that are still running end with `upstream_cut`."""
        ...
