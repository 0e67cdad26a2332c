"""What a process remembers of credentials for a second, so that a request costs no look-up of its own."""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from app.auth.principal import Identified, Principal
from app.kit.clock import now

REMEMBERED_SECONDS = 1.0
"""How long a process may go on with what it knew: a revocation elsewhere takes effect within this."""
REMEMBERED_CREDENTIALS = 10_000


class Digests:
    """Names secrets in memory without holding them: a hash with a key of this process, which is fast and tells nobody
    else anything."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def __call__(self, *parts: str) -> bytes:
        digest = hashlib.blake2b(key=self._key, digest_size=32)
        for part in parts:
            encoded = part.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(4) + encoded)
        return digest.digest()


class Memory:
    def __init__(self) -> None:
        self._known: dict[bytes, tuple[float, Identified]] = {}
        self._changes = 0

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """Look everybody up again after what happens inside: somebody's keys, role or state may have changed, even
        when it failed. A transaction has to end inside too."""
        try:
            yield
        finally:
            self._changes += 1
            self._known.clear()

    async def recall(self, digest: bytes, look_up: Callable[[], Awaitable[Identified]]) -> Principal:
        """Who is known by the digest, else who is found. Raises what `look_up` raises."""
        if (known := self._recall(digest)) is not None:
            return known
        changes = self._changes
        found = await look_up()
        if changes == self._changes:  # otherwise what was read may be older than the change
            self._remember(digest, found)
        return found.principal

    def _recall(self, digest: bytes) -> Principal | None:
        """Who is remembered, unless that is too old or the credential has expired since."""
        if (known := self._known.get(digest)) is None:
            return None
        until, found = known
        is_over = until <= monotonic() or (found.expires_at is not None and found.expires_at <= now())
        return None if is_over else found.principal

    def _remember(self, digest: bytes, found: Identified) -> None:
        if len(self._known) >= REMEMBERED_CREDENTIALS:
            self._known.clear()
        self._known[digest] = (monotonic() + REMEMBERED_SECONDS, found)
