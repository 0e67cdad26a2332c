"""Any server that speaks OpenAI's `POST /chat/completions`: vLLM, Ollama, llama.cpp, OpenAI itself, gateways.

One client, one pool of connections and one TLS context per provider, for the life of the process. A connection goes
back to the pool when the answer was read to its end; leaving the stream earlier closes it at once, which tells the
upstream to stop generating. Redirects are not followed (they would carry the key elsewhere), cookies are not kept
(requests of different users share the client), proxies are not read from the environment.

Decided here: an answer longer than `max_answer_bytes` ends with `Finish("length")`; once a finish reason was read the
answer counts as complete, whatever becomes of the connection; `[DONE]` without a finish reason is `stop`.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from app import __version__
from app.config import MEBIBYTE, ProviderSettings
from app.llm.answer import AnswerText
from app.llm.completions import reader_for
from app.llm.provider import Chunk, CompletionRequest, ErrorCode, Finish, ProviderError, TextDelta, Usage
from app.llm.waits import Waits
from app.llm.wire import Piece, error_for_status, request_body

MAX_CONNECTIONS = 1000
KEEP_ALIVE_SECONDS = 30.0
MAX_EXPLANATION_BYTES = 64 * 1024

_USAGE_SECONDS = 2.0  # usage comes right behind the finish reason; some servers then just stay silent
_DRAIN_SECONDS = 0.25  # the last bytes behind [DONE]; without them the connection cannot be used again
_EXPLANATION_SECONDS = 2.0

_HARMLESS_WHEN_COMPLETE: frozenset[ErrorCode] = frozenset(("upstream_timeout", "upstream_cut"))

# By the transport's own exception, in this order: httpx-aiohttp 0.2 calls a refused connection a timeout.
_CONNECTION_ERRORS: tuple[tuple[type[BaseException], ErrorCode, str], ...] = (
    (TimeoutError, "upstream_timeout", "could not be connected to within {connect_timeout:g} s."),
    (aiohttp.ClientConnectorError, "upstream_unreachable", "cannot be reached."),
    (aiohttp.ClientResponseError, "upstream_invalid", "does not answer in HTTP."),
    (aiohttp.ClientConnectionError, "upstream_cut", "closed the connection without an answer."),
    (BaseException, "upstream_unreachable", "cannot be reached."),
)


class OpenAICompatible:
    """One upstream; see `Provider`. Use and close it in one event loop; nothing is opened before the first call.

    `max_answer_bytes` bounds the text of one answer as UTF-8. A malformed `base_url` raises `httpx.InvalidURL`.
    """

    def __init__(self, name: str, settings: ProviderSettings, *, max_answer_bytes: int = MEBIBYTE) -> None:
        self.name = name
        self._settings = settings
        self._max_answer_bytes = max_answer_bytes
        self._url = httpx.URL(f"{settings.base_url.rstrip('/')}/chat/completions")
        self._secret = settings.api_key.get_secret_value() if settings.api_key else None
        self._client = _client(settings.connect_timeout, self._secret)

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """See `Provider.stream`."""
        waits = Waits(self.name, self._settings)
        text = AnswerText(self._max_answer_bytes)
        reason = "stop"
        usage: Usage | None = None
        async with self._post(request, waits) as response, aclosing(self._pieces(response, waits)) as pieces:
            async for piece in pieces:
                reason = piece.reason or reason
                usage = piece.usage or usage
                if delta := text.take(piece.text):
                    yield TextDelta(delta)
                if text.is_full:
                    break
        if delta := text.end():
            yield TextDelta(delta)
        yield Finish("length" if text.is_full else reason, usage)

    async def aclose(self) -> None:
        """See `Provider.aclose`; the provider cannot be used afterwards."""
        await self._client.aclose()

    @asynccontextmanager
    async def _post(self, request: CompletionRequest, waits: Waits) -> AsyncGenerator[httpx.Response, None]:
        """The upstream's successful answer, its body not yet read; every other status is raised."""
        call = self._client.build_request("POST", self._url, content=request_body(request))
        try:
            async with waits.within():
                response = await self._client.send(call, stream=True)
        except (httpx.TransportError, aiohttp.ClientError) as error:
            raise self._connection_error(error) from error
        async with aclosing(response):
            if not response.is_success:
                body = await self._explanation(response, waits)
                raise error_for_status(response.status_code, body, response.headers, self.name, secret=self._secret)
            yield response

    async def _pieces(self, response: httpx.Response, waits: Waits) -> AsyncGenerator[Piece, None]:
        reader = reader_for(response.headers.get("content-type", ""), self.name, self._secret)
        try:
            async with aclosing(self._chunks(response, waits)) as chunks:
                async for chunk in chunks:
                    for piece in reader.feed(chunk):
                        if piece.is_token:
                            waits.got_piece()
                        yield piece
                    if reader.is_complete:
                        waits.finish_within(_DRAIN_SECONDS if reader.is_done else _USAGE_SECONDS)
        except ProviderError as error:
            if not reader.is_complete or error.code not in _HARMLESS_WHEN_COMPLETE:
                raise
        for piece in reader.end():
            yield piece

    async def _chunks(self, response: httpx.Response, waits: Waits) -> AsyncGenerator[bytes, None]:
        """The decoded body as it arrives, each wait for it timed."""
        body = response.aiter_bytes()
        while True:
            try:
                async with waits.within():
                    chunk = await anext(body, None)
            except httpx.DecodingError as error:
                raise ProviderError("upstream_invalid", f"{self.name} sent a body that cannot be decoded.") from error
            # aiohttp raises a bare RuntimeError to a reader whose session was closed.
            except (httpx.TransportError, aiohttp.ClientError, RuntimeError) as error:
                raise ProviderError("upstream_cut", f"{self.name} broke off in the middle of the answer.") from error
            if chunk is None:
                return
            yield chunk

    async def _explanation(self, response: httpx.Response, waits: Waits) -> bytes:
        """The beginning of an error's body; whatever goes wrong here, the status already says enough."""
        waits.finish_within(_EXPLANATION_SECONDS)
        body = b""
        with suppress(ProviderError):
            async with aclosing(self._chunks(response, waits)) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > MAX_EXPLANATION_BYTES:
                        break
        return body

    def _connection_error(self, error: Exception) -> ProviderError:
        cause = error.__cause__ if isinstance(error, httpx.TransportError) else error
        code, sentence = next(
            (code, sentence) for kind, code, sentence in _CONNECTION_ERRORS if isinstance(cause or error, kind)
        )
        return ProviderError(code, f"{self.name} {sentence.format(connect_timeout=self._settings.connect_timeout)}")


def _client(connect_timeout: float, secret: str | None) -> httpx.AsyncClient:
    tls = httpx.create_ssl_context(trust_env=True)

    def session() -> aiohttp.ClientSession:
        """Called by the transport within the running loop, at the first request."""
        connector = aiohttp.TCPConnector(ssl=tls, limit=MAX_CONNECTIONS, keepalive_timeout=KEEP_ALIVE_SECONDS)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    headers = {
        "Accept": "text/event-stream, application/json",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        "User-Agent": f"verbatim/{__version__}",
    }
    if secret:
        headers["Authorization"] = f"Bearer {secret}"
    return httpx.AsyncClient(
        transport=AiohttpTransport(verify=tls, client=session),
        headers=headers,
        # Reading is timed by `Waits`; `pool` is the transport's time to get a connection, from DNS to TLS.
        timeout=httpx.Timeout(None, connect=connect_timeout, pool=connect_timeout),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        follow_redirects=False,
        trust_env=False,
    )
