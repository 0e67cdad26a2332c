"""Keyset paging: a page begins behind a row, or ends before one, so deep pages cost what the first one costs.

A cursor is opaque: a row's sort value and id, with a fingerprint of the list it belongs to, signed with the
deployment's secret. One from another list, or an edited one, is refused.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from bson import BSON, ObjectId
from bson.codec_options import CodecOptions
from bson.errors import BSONError

from app.kit.errors import InvalidCursor

_SIGNATURE_BYTES = 12
_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)


@dataclass(frozen=True)
class Sort:
    """One stored path and a direction; ties are broken by `_id` in the same direction."""

    path: str
    descending: bool = False
    nullable: bool = False
    unique: bool = False
    mutable: bool = False

    @property
    def keys(self) -> list[tuple[str, int]]:
        direction = -1 if self.descending else 1
        return [(self.path, direction)] if self.unique else [(self.path, direction), ("_id", direction)]

    @property
    def reversed(self) -> "Sort":
        return replace(self, descending=not self.descending)


@dataclass(frozen=True)
class Position:
    """A place in a list: a row's sort value and its id. Reading from it begins behind that row, which may have gone
    meanwhile, or with it where the row is `included`."""

    value: Any
    id: ObjectId
    included: bool = False
    passed: bool = field(default=False, compare=False)
    """Whether a search gave up behind the row, which it had looked at, found or not."""

    @classmethod
    def of(cls, row: Mapping[str, Any], sort: Sort) -> "Position":
        value: Any = row
        for segment in sort.path.split("."):
            value = value.get(segment) if isinstance(value, Mapping) else None
        return cls(value, row["_id"])


@dataclass(frozen=True)
class Page:
    """Stored rows in order, the cursors of its neighbours if there are any, and a total when it was asked for.

    `partial`: it has fewer rows than were asked for because the search gave up for now; it goes on at the cursor.
    """

    rows: Sequence[dict[str, Any]]
    next: str | None
    prev: str | None
    total: int | None = None
    partial: bool = False


def after(sort: Sort, position: Position) -> dict[str, Any]:
    """The condition of the rows behind `position`. Null (or absent) sorts before every value.

    The bound beside the `$or` lets one range of an index serve both branches, whichever filters lie before it; where
    many rows share the value, the database reads the branches apart and merges them. So no page reads what lies
    before it.
    """
    beyond = "$lt" if sort.descending else "$gt"
    from_there = _from(sort, position)
    if sort.unique:
        return {sort.path: {from_there: position.value}}
    tie = {sort.path: position.value, "_id": {from_there: position.id}}
    if position.value is None:
        return tie if sort.descending else {"$or": [tie, {sort.path: {"$ne": None}}]}
    rest = {sort.path: {beyond: position.value}}
    if sort.nullable and sort.descending:
        return {sort.path: {"$not": {"$gt": position.value}}, "$or": [tie, rest, {sort.path: None}]}
    return {sort.path: {f"{beyond}e": position.value}, "$or": [tie, rest]}


def _from(sort: Sort, position: Position) -> str:
    """The operator of the rows from the position on."""
    return ("$lt" if sort.descending else "$gt") + ("e" if position.included else "")


def between(sort: Sort, start: Position | None, last: Position) -> dict[str, Any]:
    """The condition of the rows behind `start`, or from the beginning, up to and with `last`."""
    back, last = sort.reversed, replace(last, included=True)
    if start is None:
        return after(back, last)
    if start.value == last.value and not sort.unique:  # ties alone, of which there may be very many
        return {sort.path: last.value, "_id": {_from(sort, start): start.id, _from(back, last): last.id}}
    return {"$and": [after(sort, start), after(back, last)]}


class Cursors:
    """Writes and reads cursors under one secret, which all processes of a deployment share."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def encode(self, fingerprint: bytes, position: Position) -> str:
        flags = {name: True for name, is_set in (("w", position.included), ("p", position.passed)) if is_set}
        payload = BSON.encode({"v": position.value, "i": position.id, **flags})
        return base64.urlsafe_b64encode(self._sign(fingerprint, payload) + payload).decode().rstrip("=")

    def decode(self, fingerprint: bytes, text: str) -> Position:
        """The position; raises InvalidCursor."""
        try:
            data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            signature, payload = data[:_SIGNATURE_BYTES], data[_SIGNATURE_BYTES:]
            if not hmac.compare_digest(signature, self._sign(fingerprint, payload)):
                raise InvalidCursor("the cursor was edited or belongs to a list with another sort or filter")
            content = BSON(payload).decode(_OPTIONS)
            return Position(content["v"], content["i"], content.get("w", False), content.get("p", False))
        except (binascii.Error, BSONError, KeyError, ValueError) as error:
            raise InvalidCursor("this is not a cursor") from error

    def _sign(self, fingerprint: bytes, payload: bytes) -> bytes:
        list_digest = blake2b(fingerprint).digest()  # of one length, so that no byte can move from one to the other
        return blake2b(list_digest + payload, key=self._secret, digest_size=_SIGNATURE_BYTES).digest()
