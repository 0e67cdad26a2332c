"""A real OpenID Connect issuer on loopback: discovery, keys, and tokens of any kind, also wrong ones.

async with IdentityProvider() as issuer:
    token = issuer.token(email="ana@example.com", email_verified=True)
"""

import asyncio
import json
import time
from functools import cache
from types import TracebackType
from typing import Any, Self

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AUDIENCE = "verbatim-api"


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public_jwk(kid: str, **members: Any) -> dict[str, Any]:
    """The public key of a name; names that begin with `ec` are elliptic."""
    if kid.startswith("ec"):
        found = ECAlgorithm.to_jwk(ec_key(kid).public_key(), as_dict=True)
    else:
        found = RSAAlgorithm.to_jwk(rsa_key(kid).public_key(), as_dict=True)
    return {**found, "kid": kid, "use": "sig", **members}


class IdentityProvider:
    """`keys`: what the key set lists; `fetches`: paths in the order they were asked for; `answers`: by path, what is
    answered in the place of the right thing; `hold`: answers wait for it when it is set."""

    def __init__(self) -> None:
        self.keys: list[Any] = [public_jwk("one")]
        self.fetches: list[str] = []
        self.answers: dict[str, web.Response] = {}
        self.hold: asyncio.Event | None = None
        self.url = ""
        self._runner: web.AppRunner | None = None

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Claims that are right; a change to None takes one away."""
        instant = int(time.time())
        right = {"iss": self.url, "aud": AUDIENCE, "sub": "subject-1", "iat": instant, "exp": instant + 300, **changes}
        return {name: value for name, value in right.items() if value is not None}

    def token(self, *, kid: str | None = "one", key: str = "one", header: Any = None, **changes: Any) -> str:
        """A token that `key` has signed and that says it was `kid`."""
        headers = {**({} if kid is None else {"kid": kid}), **(header or {})}
        signer: Any = ec_key(key) if key.startswith("ec") else rsa_key(key)
        algorithm = "ES256" if key.startswith("ec") else "RS256"
        return jwt.encode(self.claims(**changes), signer, algorithm, headers=headers)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.fetches.append(request.path)
        if self.hold is not None:
            await self.hold.wait()
        if request.path in self.answers:
            answer = self.answers[request.path]
            return web.Response(body=answer.body, status=answer.status, headers=answer.headers)
        if request.path == "/.well-known/openid-configuration":
            return _json({"issuer": self.url, "jwks_uri": f"{self.url}/keys"})
        if request.path == "/keys":
            return _json({"keys": self.keys})
        return web.Response(status=404)


def _json(value: Any) -> web.Response:
    return web.Response(text=json.dumps(value), content_type="application/json")
