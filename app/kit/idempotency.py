"""`Idempotency-Key`: a POST that is repeated with its key happens once and answers the same again.

The record and the effect are one transaction, so there is no moment at which one exists without the other.
"""

import hashlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

import orjson
import pymongo
from beanie import Document
from pydantic import Field
from pymongo import IndexModel
from pymongo.errors import DuplicateKeyError
from starlette.responses import Response

from app.kit.clock import now
from app.kit.deadlines import READ_SECONDS, WRITE_SECONDS
from app.kit.errors import IdempotencyKeyReused, Invalid, VerbatimError
from app.kit.transactions import Transactions, current_session

KEPT = timedelta(hours=24)
MAX_KEY_CHARACTERS = 255
REPLAYED = {"Idempotency-Replayed": "true"}
_STORED_HEADERS = ("location", "etag", "content-type")


class IdempotencyRecord(Document):
    """The answer to one keyed request, kept for 24 hours."""

    id: str = Field(alias="_id")  # type: ignore[assignment]
    owner: str | None = None
    """Who asked: a user's id, or `hook:` and a hook's."""
    fingerprint: str
    status: int
    headers: dict[str, str]
    body: bytes
    expires_at: datetime

    class Settings:
        name = "idempotency_records"
        indexes: ClassVar = [
            IndexModel("expires_at", name="expiry_v1", expireAfterSeconds=0),
            IndexModel("owner", name="owner_v1"),
        ]


async def forget_answers(owners: Collection[str]) -> int:
    """Remove what was answered to these owners; answers how many records these were."""
    with pymongo.timeout(WRITE_SECONDS):
        result = await IdempotencyRecord.get_pymongo_collection().delete_many(
            {"owner": {"$in": list(owners)}}, session=current_session()
        )
    return result.deleted_count


def check_key(key: str | None) -> str | None:
    """The key; raises Invalid when it is empty, too long, or not printable ASCII."""
    if key is not None and not (0 < len(key) <= MAX_KEY_CHARACTERS and key.isascii() and key.isprintable()):
        raise Invalid.field("header.Idempotency-Key", f"has 1 to {MAX_KEY_CHARACTERS} printable ASCII characters")
    return key


def fingerprint(*parts: bytes) -> str:
    """What makes two requests the same: method, path with query, body."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


@dataclass(frozen=True)
class Once:
    """One request's promise to happen once. Without a key the effect simply runs."""

    transactions: Transactions
    owner: str
    route: str
    key: str | None
    fingerprint: str

    def item(self, index: int) -> "Once":
        """The promise of one item of a bulk request."""
        key = None if self.key is None else f"{self.key}#{index}"
        return Once(self.transactions, self.owner, self.route, key, self.fingerprint)

    async def run(self, effect: Callable[[], Awaitable[Response]], *, concealed: Sequence[str] = ()) -> Response:
        """Run `effect` and answer its response, or replay the one that is stored.

        `effect` does nothing but read and write the database: it runs in a transaction, perhaps more than once.
        `concealed`: members of its JSON body that are not kept, so a replay shows them as null.
        Raises IdempotencyKeyReused.
        """
        if self.key is None:
            return await effect()
        if (replay := await self.replay()) is not None:
            return replay
        try:
            return await self.transactions.run(lambda: self._record(effect, concealed))
        except (DuplicateKeyError, VerbatimError):
            # The same request may have won meanwhile, and be the very reason why this one failed.
            if (replay := await self.replay()) is not None:
                return replay
            raise

    @property
    def _id(self) -> str:
        return fingerprint(self.owner.encode(), self.route.encode(), (self.key or "").encode())

    async def replay(self) -> Response | None:
        """The stored response of this request, if it has happened. Raises IdempotencyKeyReused."""
        if self.key is None:
            return None
        with pymongo.timeout(READ_SECONDS):
            stored = await IdempotencyRecord.get_pymongo_collection().find_one({"_id": self._id})
        if stored is None:
            return None
        if stored["fingerprint"] != self.fingerprint:
            raise IdempotencyKeyReused("This Idempotency-Key came before with another request; choose a new one.")
        return Response(bytes(stored["body"]), stored["status"], headers={**stored["headers"], **REPLAYED})

    async def _record(self, effect: Callable[[], Awaitable[Response]], concealed: Sequence[str]) -> Response:
        response = await effect()
        record: dict[str, Any] = {
            "_id": self._id,
            "owner": self.owner,
            "fingerprint": self.fingerprint,
            "status": response.status_code,
            "headers": {name: response.headers[name] for name in _STORED_HEADERS if name in response.headers},
            "body": _without(bytes(response.body), concealed),
            "expires_at": now() + KEPT,
        }
        with pymongo.timeout(WRITE_SECONDS):
            await IdempotencyRecord.get_pymongo_collection().insert_one(record, session=current_session())
        return response


def _without(body: bytes, concealed: Sequence[str]) -> bytes:
    if not concealed:
        return body
    return orjson.dumps({**orjson.loads(body), **dict.fromkeys(concealed)})
