"""Any server that speaks OpenAI's `POST /chat/completions`: vLLM, Ollama, llama.cpp, OpenAI itself, gateways.

Decided here: an answer longer than `max_answer_bytes` ends with `Finish("length")`; once a finish reason was read the
answer counts as complete, whatever becomes of the connection; `[DONE]` without a finish reason is `stop`.
"""

from collections.abc import AsyncGenerator, Iterator

from app.config import MEBIBYTE
from app.llm.answer import AnswerText
from app.llm.completions import Reader, reader_for
from app.llm.connection import Body, Connection
from app.llm.failures import error_for_status
from app.llm.presets import endpoint
from app.llm.provider import Chunk, CompletionRequest, ErrorCode, Finish, ProviderError, TextDelta, Usage
from app.llm.request import request_body
from app.llm.toolcalls import ToolCallPieces
from app.llm.waits import Waits
from app.llm.wire import Piece
from app.upstream_settings import ProviderSettings

MAX_EXPLANATION_BYTES = 64 * 1024

_USAGE_SECONDS = 2.0  # usage comes right behind the finish reason; some servers then just stay silent
_DRAIN_SECONDS = 0.25  # the last bytes behind [DONE]; without them the connection cannot be used again
_EXPLANATION_SECONDS = 2.0

_HARMLESS_WHEN_COMPLETE: frozenset[ErrorCode] = frozenset(("upstream_timeout", "upstream_cut"))


class OpenAICompatible:
    """One upstream; see `Provider`. Use and close it in one event loop; nothing is opened before the first call.

    `max_answer_bytes` bounds the text of one answer as UTF-8, and likewise its reasoning and its tool calls.
    """

    def __init__(self, name: str, settings: ProviderSettings, *, max_answer_bytes: int = MEBIBYTE) -> None:
        self.name = name
        self._settings = settings
        self._max_answer_bytes = max_answer_bytes
        self._secret = settings.api_key.get_secret_value() if settings.api_key else None
        target = endpoint(name, settings)
        self._target = target
        self._connection = Connection(
            name, target, connect_timeout=settings.connect_timeout, limit=settings.max_concurrency
        )

    async def stream(self, request: CompletionRequest, *, total: float | None = None) -> AsyncGenerator[Chunk, None]:
        """See `Provider.stream`."""
        waits = Waits(self.name, self._settings, total=total)
        answer = _Answer(self._max_answer_bytes)
        try:
            async with self._connection.post(self._body(request), waits) as body:
                reader = await self._reader(body, waits)
                while not answer.is_full and (packet := await _next_packet(reader, body)):
                    for delta in answer.deltas(reader.feed(packet), waits):
                        yield TextDelta(delta)
                    if reader.is_complete:
                        waits.finish_within(_DRAIN_SECONDS if reader.is_done else _USAGE_SECONDS)
                for delta in answer.deltas(reader.end(), waits):
                    yield TextDelta(delta)
        except ProviderError as error:
            error.has_begun = waits.has_begun
            raise
        if delta := answer.text.end():
            yield TextDelta(delta)
        yield answer.finish()

    async def aclose(self) -> None:
        """See `Provider.aclose`; the provider cannot be used afterwards."""
        await self._connection.aclose()

    def _body(self, request: CompletionRequest) -> bytes:
        return request_body(request, self._target.parameters, has_short_call_ids=self._target.has_short_call_ids)

    async def _reader(self, body: Body, waits: Waits) -> Reader:
        if not 200 <= body.status < 300:
            explanation = await _explanation(body, waits)
            raise error_for_status(body.status, explanation, body.headers, self.name, secret=self._secret)
        return reader_for(body.headers.get("content-type", ""), self.name, self._secret)


class _Answer:
    """What has come of one answer."""

    def __init__(self, max_bytes: int) -> None:
        self.text = AnswerText(max_bytes)
        self._reasoning = AnswerText(max_bytes)
        self._thoughts: list[str] = []
        self._tool_calls = ToolCallPieces(max_bytes)
        self._reason = "stop"
        self._usage: Usage | None = None

    @property
    def is_full(self) -> bool:
        """Nothing more can be taken: the answer is as long as it may be."""
        return self.text.is_full or self._tool_calls.is_full

    def deltas(self, pieces: Iterator[Piece], waits: Waits) -> Iterator[str]:
        """The text that can go out now, as far as there is room for it."""
        while not self.is_full and (piece := next(pieces, None)):
            if piece.is_token:
                waits.got_piece()
            if delta := self._take(piece):
                yield delta

    def _take(self, piece: Piece) -> str:
        self._reason = piece.reason or self._reason
        self._usage = piece.usage or self._usage
        if piece.reasoning and not self._reasoning.is_full:
            self._thoughts.append(self._reasoning.take(piece.reasoning))
        for call in piece.tool_calls:
            self._tool_calls.take(call)
        return self.text.take(piece.text) if piece.text else ""

    def finish(self) -> Finish:
        calls = self._tool_calls.end()
        reason = "tool_calls" if calls and self._reason == "stop" else self._reason
        reasoning = "".join([*self._thoughts, self._reasoning.end()])
        return Finish("length" if self.is_full else reason, self._usage, calls, reasoning)


async def _next_packet(reader: Reader, body: Body) -> bytes:
    """Empty at the end of the body, or when nothing but silence follows a complete answer."""
    try:
        return await body.read()
    except ProviderError as error:
        if reader.is_complete and error.code in _HARMLESS_WHEN_COMPLETE:
            return b""
        raise


async def _explanation(body: Body, waits: Waits) -> bytes:
    """The beginning of an error's body; whatever goes wrong here, the status already says enough."""
    waits.finish_within(_EXPLANATION_SECONDS)
    explanation = b""
    try:
        while len(explanation) <= MAX_EXPLANATION_BYTES and (packet := await body.read()):
            explanation += packet
    except ProviderError:
        return explanation
    return explanation
