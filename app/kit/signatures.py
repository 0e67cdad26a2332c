"""Signatures of messages between servers, as https://www.standardwebhooks.com describes them (v1, HMAC-SHA256).

A message has three headers: `webhook-id` (the same whenever it is sent again), `webhook-timestamp` (seconds since 1970)
and `webhook-signature` (one or more `v1,<base64>`, separated by spaces, so that secrets can be changed without a gap).
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.kit.errors import WrongSignature

PREFIX = "whsec_"
TOLERANCE_SECONDS = 300
"""By how much the clocks of two servers may differ, and for how long a message that somebody has caught is any good."""
MAX_SIGNATURES = 10
_ID = re.compile(r"[!-~]{1,200}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True)
class SignedMessage:
    """The three headers of a message; `signatures` is the text of the third."""

    id: str
    timestamp: int
    signatures: str

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> "SignedMessage":
        """Raises WrongSignature when one of them is missing or malformed."""
        id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not _ID.fullmatch(id) or not _TIMESTAMP.fullmatch(timestamp):
            raise WrongSignature
        return cls(id, int(timestamp), headers.get("webhook-signature", ""))

    def verify(self, keys: Iterable[str], body: bytes, *, at: float) -> None:
        """Raises WrongSignature unless one of the secrets has signed the message around this instant."""
        expected = [sign(key, self.id, self.timestamp, body).encode() for key in keys]
        given = [each.encode() for each in self.signatures.split(" ")[:MAX_SIGNATURES]]
        # All pairs, whatever the first ones say: the time tells nothing.
        is_right = sum(hmac.compare_digest(one, other) for one in expected for other in given) > 0
        if not is_right or abs(at - self.timestamp) > TOLERANCE_SECONDS:
            raise WrongSignature


def new_secret() -> str:
    """A new secret of 256 random bits."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def sign(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """One signature of a message. Raises ValueError when the secret is none."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("the secret is not base64") from error
    digest = hmac.digest(key, b"%b.%d.%b" % (id.encode(), timestamp, body), hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def signed_headers(keys: Iterable[str], id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a message that is signed with each of the secrets."""
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(sign(key, id, timestamp, body) for key in keys),
    }
