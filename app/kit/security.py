"""Secrets: how they are made, hashed and compared."""

import hashlib
import secrets
from base64 import b64encode
from collections.abc import Callable
from typing import TypeVar

import anyio.to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.kit.errors import Unavailable

T = TypeVar("T")

_hasher = PasswordHasher()
_hashing = anyio.CapacityLimiter(4)
"""argon2 takes 64 MiB and a core for tens of milliseconds: few at once, and never in the event loop."""
MAX_WAITING = 100
"""Passwords that may wait for their turn, some seconds; the next one is told to come back."""
MAX_PASSWORD_CHARACTERS = 200

KEY_PREFIX = "vb_"
REFRESH_PREFIX = "vr_"
LINK_PREFIX = "vl_"
SHOWN_CHARACTERS = 9


def new_key() -> str:
    """A new API key of 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def new_link_token() -> str:
    """A new secret of a link, of 256 random bits."""
    return LINK_PREFIX + secrets.token_urlsafe(32)


def new_refresh_token() -> str:
    """A new refresh token of 256 random bits."""
    return REFRESH_PREFIX + secrets.token_urlsafe(32)


def hash_key(key: str) -> str:
    """SHA-256 as hex. A key is random and long, so a fast hash is enough and lets it be found by index."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


async def hash_password(password: str) -> str:
    """Raises Unavailable when too many wait already."""
    return await _in_turn(lambda: _hasher.hash(password))


async def is_password(stored_hash: str | None, password: str) -> bool:
    """Whether `password` made `stored_hash`, in the time that argon2 takes, also when there is no hash: nobody can
    tell by the time who has a password. Raises Unavailable when too many wait already."""
    return await _in_turn(lambda: _verify(stored_hash or _NOBODYS_HASH, password))


def is_outdated(stored_hash: str) -> bool:
    """Whether it was made with other costs than passwords are hashed with now."""
    try:
        return _hasher.check_needs_rehash(stored_hash)
    except InvalidHashError:
        return False


async def _in_turn(work: Callable[[], T]) -> T:
    if _hashing.statistics().tasks_waiting >= MAX_WAITING:
        raise Unavailable("Too many passwords are being checked; retry.", retry_after=2)
    return await anyio.to_thread.run_sync(work, limiter=_hashing)


def _verify(stored_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(stored_hash, password)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False


def _nobodys_hash() -> str:
    """A hash as the hasher makes them, of no password that anybody knows."""
    salt, digest = (
        b64encode(secrets.token_bytes(length)).decode().rstrip("=") for length in (_hasher.salt_len, _hasher.hash_len)
    )
    return f"$argon2id$v=19$m={_hasher.memory_cost},t={_hasher.time_cost},p={_hasher.parallelism}${salt}${digest}"


_NOBODYS_HASH = _nobodys_hash()
