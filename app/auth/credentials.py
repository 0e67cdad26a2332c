"""What comes with a request, before anybody knows whose it is."""

import base64
import binascii
from dataclasses import dataclass, field

from app.kit.errors import Unauthenticated

MAX_CHARACTERS = 16 * 1024
"""Longer credentials are refused unread; an issuer's token with many groups has some thousands."""
REFUSAL = "This key or token is unknown, expired or revoked."
"""The same words whatever is wrong."""
_UNREADABLE = "The Authorization header cannot be read."


@dataclass(frozen=True)
class Bearer:
    """An API key or a token (RFC 6750)."""

    secret: str = field(repr=False)


@dataclass(frozen=True)
class Basic:
    """A name with a password (RFC 7617): an e-mail with its password, or anything with an API key."""

    name: str = field(repr=False)
    password: str = field(repr=False)


Presented = Bearer | Basic


def parse_authorization(header: str) -> Presented:
    """The credential of an Authorization header. Raises Unauthenticated."""
    scheme, _, rest = header.partition(" ")
    rest = rest.strip()
    if not rest or len(rest) > MAX_CHARACTERS:
        raise Unauthenticated(_UNREADABLE if rest else "")
    match scheme.lower():
        case "bearer":
            return Bearer(rest)
        case "basic":
            return _parse_basic(rest)
    raise Unauthenticated


def _parse_basic(encoded: str) -> Basic:
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError) as error:
        raise Unauthenticated(_UNREADABLE) from error
    if not colon or not password:
        raise Unauthenticated(_UNREADABLE)
    return Basic(name, password)
