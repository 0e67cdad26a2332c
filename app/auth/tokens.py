"""Access tokens: JSON Web Tokens (RFC 9068) that say whose session they are of, signed with one algorithm.

Nothing in a token decides how it is verified: the algorithm is fixed here, keys are found by `kid` among our own.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from bson import ObjectId
from bson.errors import InvalidId

from app.auth.credentials import REFUSAL
from app.auth.permissions import PERMISSIONS, Permission, in_short, with_parts
from app.auth.signing import SigningKeys
from app.kit.clock import now
from app.kit.errors import Unauthenticated

ISSUER = "verbatim"
AUDIENCE = "verbatim"
ALGORITHM = "HS256"
TYPE = "at+jwt"
LEEWAY = 5
"""Seconds by which the clocks of two servers may differ."""
_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_CLAIMS = ["iss", "aud", "sub", "sid", "iat", "nbf", "exp", "jti", "scope"]
_MALFORMED = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
"""What reading a token of somebody's making can raise."""


@dataclass(frozen=True)
class Claims:
    """What one of our tokens says."""

    user_id: ObjectId
    session_id: ObjectId
    permissions: frozenset[Permission]
    expires_at: datetime


def issuer_of(token: str) -> str | None:
    """Who the token claims to be from, which is not verified yet; None when it is no token that can be read."""
    if _SHAPE.fullmatch(token) is None:
        return None
    try:
        issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except _MALFORMED:
        return None
    return issuer if isinstance(issuer, str) else None


def header_of(token: str) -> dict[str, Any]:
    """The header, which is not verified yet. Raises Unauthenticated."""
    try:
        return jwt.get_unverified_header(token)
    except _MALFORMED as error:
        raise Unauthenticated(REFUSAL) from error


def verified(token: str, key: Any, *, algorithms: list[str], issuer: str, audience: str | list[str]) -> dict[str, Any]:
    """The claims of a token that was signed with the key by one of the algorithms, is from the issuer, for the
    audience, and counts now. Raises Unauthenticated."""
    try:
        return jwt.decode(
            token,
            key,
            algorithms=algorithms,
            issuer=issuer,
            audience=audience,
            leeway=LEEWAY,
            options={"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True},
        )
    except _MALFORMED as error:
        raise Unauthenticated(REFUSAL) from error


class AccessTokens:
    def __init__(self, keys: SigningKeys, *, life: timedelta) -> None:
        self._keys = keys
        self._life = life

    async def issue(
        self, user_id: ObjectId, session_id: ObjectId, permissions: Collection[Permission], *, until: datetime
    ) -> tuple[str, int]:
        """A token for the session, and the seconds that it counts, no longer than the session."""
        key, instant = await self._keys.newest(), now()
        life = int(min(self._life, until - instant).total_seconds())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "sid": str(session_id),
            "jti": str(ObjectId()),
            "iat": int(instant.timestamp()),
            "nbf": int(instant.timestamp()),
            "exp": int(instant.timestamp()) + life,
            "scope": " ".join(in_short(permissions)),
        }
        return jwt.encode(claims, key.secret, ALGORITHM, headers={"kid": key.kid, "typ": TYPE}), life

    async def read(self, token: str) -> Claims:
        """Raises Unauthenticated, with the same words whatever is wrong with it."""
        header = header_of(token)
        key = await self._keys.find(str(header.get("kid")))
        if key is None or header.get("typ") != TYPE:
            raise Unauthenticated(REFUSAL)
        claims = verified(token, key.secret, algorithms=[ALGORITHM], issuer=ISSUER, audience=AUDIENCE)
        if not all(name in claims for name in _CLAIMS):
            raise Unauthenticated(REFUSAL)
        return _claims(claims)


def _claims(claims: dict[str, Any]) -> Claims:
    named = str(claims["scope"]).split()
    try:
        return Claims(
            user_id=ObjectId(claims["sub"]),
            session_id=ObjectId(claims["sid"]),
            permissions=with_parts(each for each in PERMISSIONS if each in named),
            expires_at=instant(claims["exp"]),
        )
    except (InvalidId, TypeError) as error:
        raise Unauthenticated(REFUSAL) from error


def instant(exp: Any) -> datetime:
    """Until when a verified token counts. Raises Unauthenticated for no moment that there is."""
    try:
        return datetime.fromtimestamp(int(exp) + LEEWAY, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise Unauthenticated(REFUSAL) from error
