"""Forged tokens: each way in which libraries have been fooled, against our own tokens and those of an issuer."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import jwt
import pytest
from bson import ObjectId
from cryptography.hazmat.primitives import serialization
from fastapi import FastAPI
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.auth.sessions import Client
from app.auth.tokens import AUDIENCE as OUR_AUDIENCE
from app.auth.tokens import ISSUER, TYPE
from app.config import Settings
from app.oidc_settings import OidcSettings
from app.services import Services
from tests.auth.identity_provider import AUDIENCE, IdentityProvider, public_jwk, rsa_key
from tests.auth.signing_in import Json, bearer, status_of
from tests.auth.test_authentication import status_of as status_of_raw
from tests.conftest import Person


@pytest.fixture
async def issuer() -> AsyncIterator[IdentityProvider]:
    async with IdentityProvider() as provider:
        provider.keys = [
            public_jwk("one"),
            public_jwk("two"),
            public_jwk("ec", alg="ES256"),
            public_jwk("enc", use="enc"),
        ]
        yield provider


@pytest.fixture
def settings(settings: Settings, issuer: IdentityProvider) -> Settings:
    oidc = OidcSettings(issuer=issuer.url, audience=AUDIENCE, algorithms=["RS256", "ES256"])
    return settings.model_copy(update={"oidc": oidc})


def segment(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def forged(header: Any, claims: Any, sign: Callable[[bytes], bytes] = lambda _: b"") -> str:
    """A token put together by hand, as no library would."""
    signed = f"{segment(header)}.{segment(claims)}"
    return f"{signed}.{segment(sign(signed.encode()))}"


def hs256(secret: bytes) -> Callable[[bytes], bytes]:
    return lambda message: hmac.digest(secret, message, hashlib.sha256)


def pem_of(name: str) -> bytes:
    return (
        rsa_key(name)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


Tokens = dict[str, str]


async def _ours(services: Services, person: Person) -> Tokens:
    """Tokens that claim to be ours and would be Ana's."""
    account = await services.users.rows.account(person.id)
    assert account is not None
    right = (await services.access.sessions.open(account, None, Client("", ""))).access_token
    claims = jwt.decode(right, options={"verify_signature": False})
    key = await services.access.signing_keys.newest()
    header = {"alg": "HS256", "typ": TYPE, "kid": key.kid}
    sign = hs256(key.secret)
    instant = int(time.time())

    def changed(**changes: Any) -> str:
        return forged(header, {name: value for name, value in {**claims, **changes}.items() if value is not None}, sign)

    head, payload, signature = right.split(".")
    return {
        "right": right,
        "rebuilt": changed(),
        "alg none": forged({**header, "alg": "none"}, claims),
        "alg None": forged({**header, "alg": "None"}, claims),
        "alg none, signed": forged({**header, "alg": "none"}, claims, sign),
        "alg absent": forged({"typ": TYPE, "kid": key.kid}, claims, sign),
        "alg list": forged({**header, "alg": ["HS256"]}, claims, sign),
        "alg HS512": forged({**header, "alg": "HS512"}, claims, lambda m: hmac.digest(key.secret, m, hashlib.sha512)),
        "alg RS256": jwt.encode(claims, rsa_key("one"), "RS256", headers={"kid": key.kid, "typ": TYPE}),
        "no signature": f"{head}.{payload}.",
        "signature of another": f"{head}.{payload}.{changed(jti='x').split('.')[2]}",
        "signature cut": right[:-4],
        "payload changed": f"{head}.{segment({**claims, 'scope': 'admin'})}.{signature}",
        "kid unknown": forged({**header, "kid": "0" * 16}, claims, sign),
        "kid absent": forged({"alg": "HS256", "typ": TYPE}, claims, sign),
        "kid a number": forged({**header, "kid": 1}, claims, sign),
        "kid an operator": forged({**header, "kid": {"$ne": ""}}, claims, sign),
        "kid a path": forged({**header, "kid": "../../dev/null"}, claims, hs256(b"")),
        "empty secret": forged(header, claims, hs256(b"")),
        "key in the header": forged(
            {**header, "kid": "mine", "jwk": {"kty": "oct", "k": segment(b"mine")}}, claims, hs256(b"mine")
        ),
        "critical": forged({**header, "crit": ["x"], "x": 1}, claims, sign),
        "unencoded": forged({**header, "b64": False, "crit": ["b64"]}, claims, sign),
        "typ of another": forged({**header, "typ": "JWT"}, claims, sign),
        "expired": changed(exp=instant - 10),
        "without an end": changed(exp=None),
        "end is text": changed(exp="tomorrow"),
        "end is infinite": changed(exp=float("inf")),
        "end is huge": changed(exp=10**400),
        "not yet": changed(nbf=instant + 60),
        "from the future": changed(iat=instant + 60),
        "other audience": changed(aud="other"),
        "audiences": changed(aud=["other", "verbatim-"]),
        "no audience": changed(aud=None),
        "other issuer": changed(iss="https://evil.example.com"),
        "no issuer": changed(iss=None),
        "other user": changed(sub=str(ObjectId())),
        "no user": changed(sub=None),
        "user an operator": changed(sub={"$ne": None}),
        "user no id": changed(sub="admin"),
        "other session": changed(sid=str(ObjectId())),
        "no session": changed(sid=None),
        "session an operator": changed(sid={"$gt": ""}),
        "no scope": changed(scope=None),
        "claims a list": forged(header, [claims], sign),
        "claims no JSON": forged(header, b"{", sign),
        "claims deep": forged(header, b"[" * 5_000, sign),
        "header no JSON": forged(b"{", claims, sign),
        "header a list": forged([], claims, sign),
    }


OUR_RIGHT = {"right", "rebuilt"}


@pytest.mark.mongod
async def test_no_forged_token_of_ours_lets_anybody_in(
    services: Services, anonymous: httpx.AsyncClient, ana: Person
) -> None:
    answers = {
        name: await anonymous.get("/api/users/me", headers=bearer(token))
        for name, token in (await _ours(services, ana)).items()
    }

    assert {name for name, answer in answers.items() if answer.status_code == 200} == OUR_RIGHT
    refused = {name: answer for name, answer in answers.items() if name not in OUR_RIGHT}
    assert {answer.status_code for answer in refused.values()} == {401}
    assert len({answer.json()["detail"] for answer in refused.values()}) == 1
    for answer in refused.values():
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def _theirs(issuer: IdentityProvider, email: str) -> Tokens:
    """Tokens that claim to be the issuer's and would be Ana's."""
    who: Json = {"email": email, "email_verified": True}
    claims, instant = issuer.claims(**who), int(time.time())
    header = {"alg": "HS256", "typ": "JWT", "kid": "one"}
    return {
        "right": issuer.token(**who),
        "right, other key": issuer.token(kid="two", key="two", **who),
        "right, other algorithm": issuer.token(kid="ec", key="ec", **who),
        "right, several audiences": issuer.token(aud=["x", AUDIENCE], **who),
        "alg none": forged({**header, "alg": "none"}, claims),
        "public key as a secret": forged(header, claims, hs256(pem_of("one"))),
        "public key as a secret, other form": forged(header, claims, hs256(pem_of("one").strip())),
        "modulus as a secret": forged(header, claims, hs256(public_jwk("one")["n"].encode())),
        "key of another": issuer.token(kid="one", key="two", **who),
        "key of nobody": issuer.token(kid="one", key="evil", **who),
        "key for encryption": issuer.token(kid="enc", key="enc", **who),
        "algorithm of another key": issuer.token(kid="one", key="ec", **who),
        "RS512": jwt.encode(claims, rsa_key("one"), "RS512", headers={"kid": "one"}),
        "PS256": jwt.encode(claims, rsa_key("one"), "PS256", headers={"kid": "one"}),
        "kid unknown": issuer.token(kid="three", key="evil", **who),
        "kid absent": issuer.token(kid=None, **who),
        "key in the header": issuer.token(key="evil", kid="mine", header={"jwk": public_jwk("evil")}, **who),
        "address in the header": issuer.token(key="evil", kid="mine", header={"jku": f"{issuer.url}/evil"}, **who),
        "logout token": issuer.token(header={"typ": "logout+jwt"}, **who),
        "typ no text": issuer.token(header={"typ": ["JWT"]}, **who),
        "expired": issuer.token(exp=instant - 10, **who),
        "without an end": issuer.token(exp=None, **who),
        "end is infinite": issuer.token(exp=float("inf"), **who),
        "not yet": issuer.token(nbf=instant + 60, **who),
        "from the future": issuer.token(iat=instant + 600, **who),
        "other audience": issuer.token(aud="other", **who),
        "our own audience": issuer.token(aud=OUR_AUDIENCE, **who),
        "no audience": issuer.token(aud=None, **who),
        "other issuer": issuer.token(iss="https://evil.example.com", **who),
        "issuer with a slash": issuer.token(iss=f"{issuer.url}/", **who),
        "issuer a list": forged({**header, "alg": "RS256"}, {**claims, "iss": [issuer.url]}),
        "ours by an issuer's key": issuer.token(iss=ISSUER, aud=OUR_AUDIENCE, sid=str(ObjectId()), **who),
        "no subject": issuer.token(sub=None, **who),
        "long subject": issuer.token(sub="x" * 300, **who),
        "empty subject": issuer.token(sub="", **who),
        "odd subject": issuer.token(sub="a\ud800", **who),
    }


async def test_no_forged_token_of_an_issuer_lets_anybody_in(
    anonymous: httpx.AsyncClient, issuer: IdentityProvider, ana: Person, services: Services
) -> None:
    statuses = {}
    for name, token in _theirs(issuer, ana.email).items():
        statuses[name] = await status_of(anonymous, bearer(token))

    assert {name for name, status in statuses.items() if status == 200} == {
        name for name in statuses if name.startswith("right")
    }
    assert {status for name, status in statuses.items() if not name.startswith("right")} == {401}
    assert f"{issuer.url}/evil" not in issuer.fetches
    assert len(issuer.fetches) == 2


_segments = st.one_of(
    st.binary(max_size=60).map(segment),
    st.sampled_from(
        [segment({"alg": "HS256", "kid": "x", "typ": TYPE}), segment({"iss": ISSUER}), segment({"alg": "none"})]
    ),
)


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.tuples(_segments, _segments, _segments))
async def test_no_garbage_of_a_tokens_shape_is_more_than_a_refusal(app: FastAPI, parts: tuple[str, str, str]) -> None:
    assert await status_of_raw(app, b"Bearer " + ".".join(parts).encode()) == 401
