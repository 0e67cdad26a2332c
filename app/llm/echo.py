"""The model that needs no upstream: it repeats the last user message, for trying out, demonstrations and tests."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Sequence

from app.llm.history import estimate_tokens
from app.llm.provider import ChatMessage, Chunk, CompletionRequest, Finish, TextDelta, Usage

# A word with the white space behind it, or two wide characters: together the pieces are the text, whatever it holds.
_PIECE = re.compile("(?:[\u2e80-\U0010ffff]{1,2}|[^\\s\u2e80-\U0010ffff]{1,64})\\s{0,64}|\\s{1,64}")


class Echo:
    """Answers with the last user message, exactly; always the same for the same request.

    Sampling parameters and `max_tokens` have no effect. Usage is counted with `estimate_tokens`: the prompt is the sum
    over all messages, the completion is the answer. Without a user message the answer is empty.
    """

    name = "echo"

    async def stream(
        self,
        request: CompletionRequest,
        *,
        total: float | None = None,  # noqa: ARG002 it never waits
    ) -> AsyncGenerator[Chunk, None]:
        answer = next((each.content for each in reversed(request.messages) if each.role == "user"), "")
        for piece in _pieces(answer):
            yield TextDelta(piece)
            # A long answer must let the other requests of the process run between its words.
            await asyncio.sleep(0)
        yield Finish("stop", _usage(request.messages, answer))

    async def aclose(self) -> None:
        """There is nothing to close."""


def _pieces(text: str) -> Iterator[str]:
    return (match.group() for match in _PIECE.finditer(text))


def _usage(messages: Sequence[ChatMessage], answer: str) -> Usage:
    prompt = sum(estimate_tokens(each.content) for each in messages)
    completion = estimate_tokens(answer)
    return Usage(prompt, completion, prompt + completion)
