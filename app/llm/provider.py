"""What every language model looks like from inside: one async generator of text, and one kind of error.

A provider promises: no `TextDelta` is empty, every text can be stored (no lone surrogates), and exactly one `Finish`
comes, last. Whatever goes wrong upstream is a `ProviderError`; closing or cancelling the generator ends the call.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Role = Literal["system", "user", "assistant", "tool"]

ErrorCode = Literal[
    "upstream_timeout",
    "upstream_unreachable",
    "upstream_rejected",
    "upstream_rate_limited",
    "upstream_failed",
    "upstream_invalid",
    "upstream_cut",
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
}


@dataclass(frozen=True)
class ChatMessage:
    """One message of the history; a message without text has empty content."""

    role: Role
    content: str


@dataclass(frozen=True)
class CompletionRequest:
    """What is asked of a model; None leaves a parameter to the upstream's own default."""

    model: str
    messages: Sequence[ChatMessage]
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None


@dataclass(frozen=True)
class Usage:
    """Token counts as the upstream reported them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@dataclass(frozen=True)
class TextDelta:
    """The next piece of the answer, never empty."""

    text: str


@dataclass(frozen=True)
class Finish:
    """The end of the answer: `stop`, `length`, `content_filter`, `tool_calls` or the upstream's own word.

    `usage` is None when the upstream reported none.
    """

    reason: str
    usage: Usage | None = None


Chunk = TextDelta | Finish


class ProviderError(Exception):
    """The upstream gave no complete answer.

    `message` is one sentence that may be shown to a client and stored. `status` is the upstream's HTTP status (or the
    one it put into an error inside the stream); `retry_after` is in seconds; `retryable` says whether the same request
    may succeed later. Text that was streamed before the error is a true beginning of the answer.
    """

    def __init__(
        self, code: ErrorCode, message: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.retryable = _RETRYABLE[code]


class Provider(Protocol):
    """One source of answers, shared by all requests of the process."""

    name: str

    def stream(self, request: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """The answer, piece by piece; raises `ProviderError`.

        Close it (`contextlib.aclosing`) when it is left early: that frees the upstream connection at once.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection; answers that are still running end with `upstream_cut`."""
        ...
