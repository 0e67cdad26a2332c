"""Secrets: how they are made, hashed and compared."""

import hashlib
import secrets

import anyio.to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_hasher = PasswordHasher()
_hashing = anyio.CapacityLimiter(4)
"""argon2 takes 64 MiB and a core for tens of milliseconds: few at once, and never in the event loop."""

KEY_PREFIX = "vb_"
SHOWN_CHARACTERS = 9


def new_key() -> str:
    """A new API key of 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def hash_key(key: str) -> str:
    """SHA-256 as hex. A key is random and long, so a fast hash is enough and lets it be found by index."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


async def hash_password(password: str) -> str:
    return await anyio.to_thread.run_sync(_hasher.hash, password, limiter=_hashing)


async def is_password(stored_hash: str, password: str) -> bool:
    """Whether `password` made `stored_hash`, in the time that argon2 takes."""
    return await anyio.to_thread.run_sync(_verify, stored_hash, password, limiter=_hashing)


def _verify(stored_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(stored_hash, password)
    except (VerificationError, InvalidHashError):
        return False
