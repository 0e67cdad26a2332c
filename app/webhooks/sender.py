"""One attempt to deliver: an HTTP request whose answer counts by its status alone.

The connection goes only where the guard allows; redirects are not followed, cookies not kept, proxies not read from the
environment. Of the answer no more is read than lets the connection be used again, and nothing of it is kept.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import aiohttp

from app import __version__
from app.kit.addresses import AddressGuard, ForbiddenAddress, GuardedResolver, Lookup
from app.kit.tls import trusted

CONNECT_SECONDS = 5.0
MAX_ANSWER_BYTES = 64 * 1024
KEEP_ALIVE_SECONDS = 15.0
GONE = 410

_HEADERS: Mapping[str, str] = {
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": f"verbatim/{__version__}",
}
_FAILURES: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ConnectionTimeoutError, "could not be connected to in time"),
    (TimeoutError, "did not answer in time"),
    (aiohttp.ClientConnectorCertificateError, "has a certificate that is not valid"),
    (aiohttp.ClientSSLError, "cannot be talked to with TLS"),
    (aiohttp.ClientConnectorDNSError, "has a name that cannot be resolved"),
    (aiohttp.ClientConnectorError, "cannot be connected to"),
    (aiohttp.ClientResponseError, "does not answer in HTTP"),
    (aiohttp.ClientError, "closed the connection without an answer"),
    (OSError, "broke off the connection"),
)


@dataclass(frozen=True)
class Attempt:
    """What became of a request: a status, or why there is none. `wait`: for how long the receiver wants no more."""

    status: int | None = None
    fault: str | None = None
    duration_ms: int = 0
    wait: timedelta = timedelta()

    @property
    def is_ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def error(self) -> str | None:
        """Why it failed, in one sentence."""
        if self.is_ok:
            return None
        if self.status is None:
            return f"The receiver {self.fault}."
        followed = "; redirects are not followed" if 300 <= self.status < 400 else ""
        return f"The receiver answered {self.status}{followed}."


class Sender:
    """Use and close it in one event loop; nothing is opened before the first request."""

    def __init__(self, guard: AddressGuard, *, timeout: float, lookup: Lookup | None = None) -> None:
        """`timeout`: seconds for the whole request; `lookup`: asks name servers."""
        self._guard = guard
        self._timeout = timeout
        self._lookup = lookup
        self._session: aiohttp.ClientSession | None = None

    async def post(self, address: str, headers: Mapping[str, str], body: bytes) -> Attempt:
        """Never raises for what the receiver, the network or the URL does."""
        began = time.monotonic()
        try:
            url = self._guard.check_url(address)
            async with self._open().post(url, data=body, headers=headers, allow_redirects=False) as response:
                status, wait = response.status, _wait(response.headers)
                await _finish(response)
        except (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, OSError) as error:
            return Attempt(fault=_fault(error), duration_ms=_since(began))
        return Attempt(status, duration_ms=_since(began), wait=wait)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=trusted(),
                    resolver=GuardedResolver(self._guard, self._lookup),
                    use_dns_cache=False,  # each connection is judged by what its name means at that moment
                    limit=0,  # the dispatcher bounds what is sent at the same time
                    keepalive_timeout=KEEP_ALIVE_SECONDS,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_HEADERS,
                timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=CONNECT_SECONDS),
                trust_env=False,
                auto_decompress=False,
            )
        return self._session


async def _finish(response: aiohttp.ClientResponse) -> None:
    """Read a short answer, so that its connection can be used again; close it over a long or broken one, which counts
    by its status all the same."""
    try:
        size = 0
        while size <= MAX_ANSWER_BYTES and (piece := await response.content.readany()):
            size += len(piece)
    except (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, OSError):
        size = MAX_ANSWER_BYTES + 1
    if size > MAX_ANSWER_BYTES:
        response.close()


def _wait(headers: Mapping[str, str]) -> timedelta:
    """What `Retry-After` asks for, in seconds; a date is not worth the trouble."""
    text = headers.get("Retry-After", "")
    return timedelta(seconds=int(text)) if text.isascii() and text.isdigit() and len(text) < 7 else timedelta()


def _fault(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ForbiddenAddress):
            return f"may not be connected to: {cause}"
        cause = cause.__cause__
    return next((sentence for kind, sentence in _FAILURES if isinstance(error, kind)), "cannot be reached")


def _since(began: float) -> int:
    return int((time.monotonic() - began) * 1000)
