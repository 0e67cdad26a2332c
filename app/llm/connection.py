"""The HTTP of one upstream: one pool of connections for the life of the process, one POST a call, its body timed.

Redirects are not followed (they would carry the key elsewhere), cookies are not kept (requests of different users
share the pool), proxies are not read from the environment. A connection goes back to the pool when the body was read
to its end; leaving it earlier closes the connection at once, which tells the upstream to stop generating.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from app import __version__
from app.kit import tracing
from app.kit.tls import trusted
from app.llm.presets import Endpoint
from app.llm.provider import ErrorCode, ProviderError
from app.llm.waits import Waits

KEEP_ALIVE_SECONDS = 30.0

_HEADERS: Mapping[str, str] = {
    "Accept": "text/event-stream, application/json",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": f"verbatim/{__version__}",
}
_CONNECTION_ERRORS: tuple[tuple[type[Exception], ErrorCode, str], ...] = (
    (TimeoutError, "upstream_timeout", "could not be connected to within {connect_timeout:g} s."),
    (aiohttp.ClientConnectorError, "upstream_unreachable", "cannot be reached."),
    (aiohttp.ClientResponseError, "upstream_invalid", "does not answer in HTTP."),
    (aiohttp.ClientConnectionError, "upstream_cut", "closed the connection without an answer."),
    (aiohttp.ClientError, "upstream_unreachable", "cannot be reached."),
)


class Body:
    """The decoded body of one answer, as it arrives."""

    def __init__(self, name: str, response: aiohttp.ClientResponse, waits: Waits) -> None:
        self.status = response.status
        self.headers = response.headers
        self._name = name
        self._content = response.content
        self._waits = waits
        waits.interrupt_with(response.close)

    async def read(self) -> bytes:
        """The next packet, empty at the end; raises `ProviderError` (`upstream_timeout`, `_cut`, `_invalid`)."""
        self._waits.begin()
        try:
            return await self._content.readany()
        # aiohttp raises a bare RuntimeError to a reader whose session was closed.
        except (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, OSError, RuntimeError) as error:
            raise self._failure(error) from error
        finally:
            self._waits.end()

    def _failure(self, error: Exception) -> ProviderError:
        if self._waits.is_over:
            return self._waits.error()
        if _is_about_encoding(error):
            return ProviderError("upstream_invalid", f"{self._name} sent a body that cannot be decoded.")
        return ProviderError("upstream_cut", f"{self._name} broke off in the middle of the answer.")


class Connection:
    """Use and close it in one event loop; nothing is opened before the first call."""

    def __init__(self, name: str, endpoint: Endpoint, *, connect_timeout: float, limit: int) -> None:
        self._name = name
        self._url = endpoint.url
        self._headers = {**_HEADERS, **endpoint.key_headers}
        self._span_attributes = {
            "http.request.method": "POST",
            "server.address": URL(endpoint.url).host or "",
            "gen_ai.provider.name": name,
        }
        self._connect_timeout = connect_timeout
        self._limit = limit
        self._tls = trusted() if endpoint.url.startswith("https:") else None
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    @asynccontextmanager
    async def post(self, body: bytes, waits: Waits) -> AsyncGenerator[Body, None]:
        """The answer to one request, whatever its status, not yet read; raises `ProviderError` without one."""
        session = self._open()
        with tracing.call(f"POST {self._name}", self._span_attributes) as headers:
            async with waits.within():
                try:
                    response = await session.post(self._url, data=body, headers=headers, allow_redirects=False)
                except aiohttp.ClientError as error:
                    raise self._connection_error(error) from error
            try:
                yield Body(self._name, response, waits)
            finally:
                waits.close()
                response.close()  # changes nothing for one that was read to its end

    async def aclose(self) -> None:
        """Close every connection, also those in use."""
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._is_closed:
            raise RuntimeError(f"{self._name} was closed.")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._tls or True, limit=self._limit, keepalive_timeout=KEEP_ALIVE_SECONDS
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
                # Getting a connection, from DNS to TLS; everything behind it is timed by `Waits`.
                timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout),
                trust_env=False,
            )
        return self._session

    def _connection_error(self, error: aiohttp.ClientError) -> ProviderError:
        code, sentence = next((code, text) for kind, code, text in _CONNECTION_ERRORS if isinstance(error, kind))
        return ProviderError(code, f"{self._name} {sentence.format(connect_timeout=self._connect_timeout)}")


def _is_about_encoding(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, aiohttp.http_exceptions.ContentEncodingError):
            return True
        error = error.__cause__
    return False
