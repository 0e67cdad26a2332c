"""The public keys of an issuer: fetched when they are needed, kept, and fetched again for a key that is not known.

Whoever sends tokens cannot make us fetch more often than the settings say. When the issuer is away what was fetched
before goes on counting for a day. Redirects are not followed, proxies not read from the environment, and answers are
bounded in time and size.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import aiohttp
import jwt

from app.kit.errors import Unavailable
from app.kit.logs import logger
from app.oidc_settings import OidcSettings, check_address

MAX_BYTES = 512 * 1024
FRESH_SECONDS = 3600.0
"""After which keys are fetched again, so that one which the issuer has withdrawn ends."""
STALE_SECONDS = 86_400.0
"""For how long keys count while the issuer cannot be asked."""
MAX_KEYS = 100
_FAMILIES: Mapping[str, tuple[str, ...]] = {"RSA": ("RS", "PS"), "EC": ("ES",), "OKP": ("Ed",)}
"""What algorithms begin with that a type of key signs by. Symmetric keys are no public ones."""
_DISCOVERY = "/.well-known/openid-configuration"


@dataclass(frozen=True)
class VerificationKey:
    """A public key, and the algorithms that it may verify; the token has no say in that."""

    key: Any
    algorithms: list[str]


class _Unusable(Exception):
    """What came from the issuer cannot be used; the message says why."""


_FAILURES = (_Unusable, aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError)


class Jwks:
    """Use and close it in one event loop."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._keys: Mapping[str, VerificationKey] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._lock = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None

    async def find(self, kid: str | None) -> VerificationKey | None:
        """The key of a token; one without `kid` is signed by the only key there is. Raises Unavailable when the
        issuer could never be asked, or not for a day."""
        key = self._find(kid)
        is_mine_to_renew = self._is_stale() and not self._lock.locked()  # one waits, the others use what is known
        if key is None or is_mine_to_renew:
            await self._refetch(kid)
            key = self._find(kid)
        if self._fetched_at is None or monotonic() - self._fetched_at > STALE_SECONDS:
            raise Unavailable("The issuer of this token cannot be asked for its keys.", retry_after=5)
        return key

    async def fault(self) -> str | None:
        """Why the keys cannot be fetched right now; None when they can."""
        try:
            await self._fetch_keys()
        except _FAILURES as error:
            return _reason(error)
        return None

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _find(self, kid: str | None) -> VerificationKey | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return None if kid is None else self._keys.get(kid)

    def _is_stale(self) -> bool:
        return self._fetched_at is None or monotonic() - self._fetched_at > FRESH_SECONDS

    async def _refetch(self, kid: str | None) -> None:
        """Fetch the keys, unless that was tried a moment ago or another request has just done it."""
        async with self._lock:
            is_known = not self._is_stale() and self._find(kid) is not None
            was_tried = self._tried_at is not None and monotonic() - self._tried_at < self._settings.refetch_seconds
            if is_known or was_tried:
                return
            self._tried_at = monotonic()
            try:
                self._keys = await self._fetch_keys()
                self._fetched_at = monotonic()
            except _FAILURES as error:
                logger.warning("issuer_keys_not_fetched", issuer=self._settings.issuer, reason=_reason(error))

    async def _fetch_keys(self) -> Mapping[str, VerificationKey]:
        document = await self._fetch(self._settings.jwks_url or await self._discover())
        listed = document.get("keys")
        if not isinstance(listed, list):
            raise _Unusable("The key set has no list of keys.")
        keys = dict(read for each in listed[:MAX_KEYS] if (read := self._read(each)) is not None)
        if not keys:
            raise _Unusable("The key set has no key that can be used.")
        return keys

    async def _discover(self) -> str:
        document = await self._fetch(self._settings.issuer.rstrip("/") + _DISCOVERY)
        if document.get("issuer") != self._settings.issuer:
            raise _Unusable("The discovery document is another issuer's.")
        url = document.get("jwks_uri")
        if not isinstance(url, str):
            raise _Unusable("The discovery document names no jwks_uri.")
        check_address(url)
        return url

    def _read(self, value: Any) -> tuple[str, VerificationKey] | None:
        """A key with its id, if it verifies signatures by one of the algorithms; keys of other kinds are left out."""
        if not isinstance(value, dict) or value.get("use", "sig") != "sig":
            return None
        families = _FAMILIES.get(str(value.get("kty")), ())
        algorithms: list[str] = [
            each for each in self._settings.algorithms if each[:2] in families and value.get("alg", each) == each
        ]
        try:
            return (
                (str(value.get("kid", "")), VerificationKey(jwt.PyJWK(value).key, algorithms)) if algorithms else None
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            return None

    async def _fetch(self, url: str) -> dict[str, Any]:
        async with self._open().get(url, allow_redirects=False) as response:
            if response.status != 200:
                raise _Unusable(f"{url} answers {response.status}.")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise _Unusable(f"{url} answers more than {MAX_BYTES} bytes.")
        document = json.loads(body)
        if not isinstance(document, dict):
            raise _Unusable(f"{url} answers no JSON object.")
        return document

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout),
                trust_env=False,
            )
        return self._session


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:300]
